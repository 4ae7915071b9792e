"""Jobs of the kind `generate`, and the models that a warm process keeps between them."""

from __future__ import annotations

import ctypes
import gc
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import jax

from .durable import sha256_file
from .errors import TuneError
from .evaluation.choices import token_choices
from .evaluation.generate import generate
from .event_types import AnswerText
from .job_spec import GenerateArgs, Message
from .model.load import load_model
from .model.lora import load_adapter
from .model.value import Model
from .recipe import ModelRecipe, Recipe
from .recipe_files import load_recipe
from .run_folder import RunFolder
from .run_outputs import need_adapter
from .stages import OnEvent, progress_of
from .text.as_trained import turns_as_trained
from .text.turns import Turn

_ADAPTERS = 8  # of one base that stay in memory; a large one takes 100 MB
_TELL_S = 0.25  # between two events of a text that is being written
_ROLES = {"system": "system", "user": "user", "assistant": "model"}


class Models:
    """The base that was used last, and the adapters of it that were.

    Another run of the same base only has its adapter read, and that only once: a few stay in
    memory. What was compiled stays, too, for all models of the same sizes.
    """

    def __init__(self) -> None:
        self._base: tuple[str, Model] | None = None
        self._tuned: OrderedDict[str, Model] = OrderedDict()

    def of_run(
        self, folder: RunFolder, *, tell: OnEvent, base: bool = False
    ) -> tuple[Recipe, Model]:
        """The run's recipe and its trained model, by what its files hold now; or its base model.

        Raises:
            TuneError: `RUN_UNTRAINED`; or if the model or the adapter can't be read.
        """
        need_adapter(folder)
        recipe = load_recipe(folder.recipe_json)
        untuned = self.of_recipe(recipe.model, tell=tell)
        if base:
            return recipe, untuned
        key = _digest(folder.adapter)
        if key not in self._tuned:
            adapters = load_adapter(folder.adapter, untuned.config)
            self._tuned[key] = untuned.replace(adapters=adapters)
            if len(self._tuned) > _ADAPTERS:
                self._tuned.popitem(last=False)
        self._tuned.move_to_end(key)
        return recipe, self._tuned[key]

    def of_recipe(self, recipe: ModelRecipe, *, tell: OnEvent) -> Model:
        """The model that the recipe names, without adapters.

        Raises:
            ModelError: If it can't be found or read.
        """
        key = recipe.model_dump_json(exclude={"adapter", "lora"})
        if self._base is None or self._base[0] != key:
            self.drop()  # first, so that never two are in memory
            self._base = (key, load_model(recipe, on_progress=progress_of("model", tell)))
        return self._base[1]

    def drop(self) -> None:
        """Lets go of the weights."""
        self._base = None
        self._tuned.clear()
        gc.collect()

    def forget(self) -> None:
        """Gives back the memory of the weights and of all that was compiled."""
        self.drop()
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def answer(
    args: GenerateArgs, run: RunFolder | None, models: Models, *, tell: OnEvent
) -> dict[str, Any]:
    """The answer, as `generate --json` prints it; with alternatives also `tokens`.

    Args:
        args: What is asked and how.
        run: The trained run, or None for the model in `args`.
        models: What is loaded already.
        tell: Receives the progress.

    Raises:
        TuneError: If the model can't be read, or the prompt not be used.
    """
    if run is not None:
        recipe, model = models.of_run(run, tell=tell, base=args.base)
        turns = turns_as_trained(recipe.data, args.prompt or "")
    else:
        model = models.of_recipe(ModelRecipe(preset=args.model or ""), tell=tell)
        turns = [Turn("user", args.prompt or "")]
    if args.messages is not None:
        turns = _conversation(args.messages)
    elif args.text is not None:
        turns = [Turn("text", args.text)]
    how = args.model_dump(include={"max_tokens", "temperature", "top_k", "top_p", "seed"})
    writing = _Writing(model, tell)
    (found,) = generate(model, [turns], batch_rows=1, on_event=tell, on_token=writing.add, **how)
    values = asdict(found)
    if args.alternatives:
        choices = token_choices(model, found.prompt_ids, found.ids, top=args.alternatives)
        values["tokens"] = [asdict(choice) for choice in choices]
    return values


class _Writing:
    """Tells what is written while it is written, at most a few times a second."""

    def __init__(self, model: Model, tell: OnEvent) -> None:
        self._model, self._tell = model, tell
        self._ids: list[int] = []
        self._told_at = 0.0

    def add(self, _: int, token: int) -> None:
        """One more token."""
        known = self._model.tokenizer.vocab_size
        if token not in self._model.template.stop_ids and token < known:
            self._ids.append(token)
        now = monotonic()
        if now - self._told_at >= _TELL_S:
            self._told_at = now
            text = self._model.tokenizer.decode(self._ids)
            self._tell(AnswerText(text=text, tokens=len(self._ids)))


def _conversation(messages: Sequence[Message]) -> list[Turn]:
    if messages[-1].role != "user":
        raise TuneError(
            "messages: the last one must be the user's, so that there is something to answer.",
            code="ROLE_ORDER",
        )
    return [Turn(_ROLES[message.role], message.content) for message in messages]  # type: ignore[arg-type]


def _digest(folder: Path) -> str:
    return " ".join(f"{path.name}:{sha256_file(path)}" for path in sorted(folder.iterdir()))

"""Checks of a run for the known traps of fine-tuning, each with its evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .console import screen
from .doctor import Check
from .doctor_model import check_model
from .errors import TuneError
from .recipe import Recipe
from .run_folder import RunFolder

if TYPE_CHECKING:
    from .data.examples import Examples
    from .data.tokenize import TokenSet
    from .model.load import ModelDescription

_NO_LIMIT = 2**31 - 1


def check_run(folder: RunFolder, recipe: Recipe, facts: ModelDescription) -> list[Check]:
    """The known traps of fine-tuning, looked for in a run.

    Args:
        folder: The run.
        recipe: Its recipe.
        facts: Its model.
    """
    checks = [_state(folder), *check_model(facts)]
    try:
        examples, tokens = _tokens(recipe, facts)
    except TuneError as error:
        why = "The run's data can't be read now; what depends on it was not looked at."
        checks.append(Check(status="skip", name="Data", evidence=f"{why} {error}"))
    else:
        checks += [
            _one_bos(tokens, facts),
            _turn_end_learned(tokens, facts),
            _supervised_share(tokens, recipe),
            _lengths(tokens, recipe, facts),
            _special_text(examples),
        ]
    return [*checks, _exported_stops(folder, facts), _adapter(folder), _better(folder)]


def _state(folder: RunFolder) -> Check:
    from .events import last_record

    last = last_record(folder.events) or {}
    status = last.get("status", "running or killed") if last.get("kind") == "run_ended" else ""
    status = status or "has not ended"
    if status == "done":
        return Check(status="ok", name="Run", evidence="ended well")
    return Check(
        status="warn",
        name="Run",
        evidence=f"{status}. {last.get('message', '')}".strip(),
        cause="The run is not finished, so its results are not, either.",
        fix=f"Run: {screen.command('resume', screen.path_name(folder.path))}",
    )


def _tokens(recipe: Recipe, facts: ModelDescription) -> tuple[Examples, TokenSet]:
    from .data.examples import load_examples
    from .data.tokenize import tokenize_examples

    examples = load_examples(recipe.data)
    return examples, tokenize_examples(examples.train, facts.template, max_length=_NO_LIMIT)


def _rows(tokens: TokenSet, test: Callable[[Any, Any], bool]) -> int:
    """How many rows `test(ids, supervised)` is true of."""
    return sum(test(*tokens.example(index)) for index in range(len(tokens)))


def _one_bos(tokens: TokenSet, facts: ModelDescription) -> Check:
    bos = facts.template.tokenizer.bos_id
    wrong = _rows(tokens, lambda ids, _: int(np.sum(ids == bos)) != 1 or ids[0] != bos)
    evidence = f"{len(tokens) - wrong:,} of {len(tokens):,} rows begin with exactly one <bos>"
    if not wrong:
        return Check(status="ok", name="One <bos>", evidence=evidence)
    return Check(
        status="fail",
        name="One <bos>",
        evidence=evidence,
        cause="A doubled or missing <bos> shifts every answer; Gemma is sensitive to it.",
        fix="Use the model's own template and tokenizer.",
    )


def _turn_end_learned(tokens: TokenSet, facts: ModelDescription) -> Check:
    stops = list(facts.template.stop_ids)

    def lacks_end(ids: Any, supervised: Any) -> bool:
        learned = np.flatnonzero(supervised)
        return not len(learned) or int(ids[learned[-1]]) not in stops

    wrong = _rows(tokens, lacks_end)
    evidence = f"{len(tokens) - wrong:,} of {len(tokens):,} rows learn to end their answer"
    if not wrong:
        return Check(status="ok", name="End of turn", evidence=evidence)
    return Check(
        status="fail",
        name="End of turn",
        evidence=evidence,
        cause="A model that never learns the end of an answer goes on without end.",
        fix="End every row with an answer.",
    )


def _supervised_share(tokens: TokenSet, recipe: Recipe) -> Check:
    total = int(tokens.lengths.sum())
    share = tokens.supervised_tokens / max(1, total)
    evidence = f"{tokens.supervised_tokens:,} of {total:,} tokens are learned ({share:.1%})"
    if share == 0:
        cause, fix = "Nothing is learned.", "Give the rows answers."
        return Check(status="fail", name="Learned share", evidence=evidence, cause=cause, fix=fix)
    if share < 0.01 and recipe.data.task != "classification":
        cause, fix = "Hardly anything is learned.", "Shorten the prompts, or check the columns."
        return Check(status="warn", name="Learned share", evidence=evidence, cause=cause, fix=fix)
    return Check(status="ok", name="Learned share", evidence=evidence)


def _lengths(tokens: TokenSet, recipe: Recipe, facts: ModelDescription) -> Check:
    limit, longest = recipe.data.max_length, int(tokens.lengths.max())
    over = int((tokens.lengths > limit).sum())
    evidence = (
        f"the longest row has {longest:,} tokens; data.max_length is {limit:,}, the model takes "
        f"{facts.config.max_positions:,}, "
        f"its local layers look back {facts.config.sliding_window:,}"
    )
    if limit > facts.config.max_positions:
        return Check(
            status="fail",
            name="Lengths",
            evidence=evidence,
            cause="Rows may be longer than what the model was made for.",
            fix=f"Set data.max_length = {facts.config.max_positions} at most.",
        )
    if over:
        return Check(
            status="warn",
            name="Lengths",
            evidence=f"{over:,} of {len(tokens):,} rows are over the limit: {evidence}",
            cause=f'They are handled as data.too_long = "{recipe.data.too_long}" says.',
            fix="Raise data.max_length if the lost part matters.",
        )
    return Check(status="ok", name="Lengths", evidence=evidence)


def _special_text(examples: Examples) -> Check:
    from .data.contents import judge_contents

    found = [item for item in judge_contents(examples) if item.code == "CONTROL_TEXT"]
    count = sum(item.count for item in found)
    evidence = f"{count:,} rows hold text that looks like a control token"
    if count:
        evidence += f" ({', '.join(found[0].where[:3])}); it is kept as text and steers nothing"
    return Check(status="ok", name="Special tokens in the data", evidence=evidence)


def _exported_stops(folder: RunFolder, facts: ModelDescription) -> Check:
    path = folder.artifacts / "hf" / "generation_config.json"
    name = "Exported stop ids"
    try:
        stops = json.loads(path.read_text("utf-8"))["eos_token_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return Check(status="skip", name=name, evidence="there is no export in the format hf")
    found = sorted(np.atleast_1d(stops).tolist())
    evidence = f"{found}, as the template's" if found == sorted(facts.template.stop_ids) else ""
    if evidence:
        return Check(status="ok", name=name, evidence=evidence)
    return Check(
        status="fail",
        name=name,
        evidence=f"{found}; the template's are {sorted(facts.template.stop_ids)}",
        cause="The exported model would not stop where the trained one does.",
        fix=f"Export again: {screen.command('export', screen.path_name(folder.path))} --format hf",
    )


def _adapter(folder: RunFolder) -> Check:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    name = "Adapter"
    if not folder.adapter.is_dir():
        return Check(status="skip", name=name, evidence="not trained yet")
    try:
        tensors = load_file(folder.adapter / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        return Check(
            status="fail",
            name=name,
            evidence=f"can't be read: {error}",
            cause="The file is damaged or missing.",
            fix="Restore it from a copy, or train again.",
        )
    squares = [
        float(np.sum(np.square(v, dtype=np.float64))) for k, v in tensors.items() if "lora_B" in k
    ]
    norm = float(np.sqrt(sum(squares)))
    evidence = f"{len(tensors)} matrices; the norm of all B together is {norm:.4g}"
    if norm > 0 and np.isfinite(norm):
        return Check(status="ok", name=name, evidence=evidence)
    return Check(
        status="fail",
        name=name,
        evidence=evidence,
        cause="B is zero or no number, so the tuned model is the base model, or is broken.",
        fix="Train for more steps, with a learning rate that is neither 0 nor huge.",
    )


def _better(folder: RunFolder) -> Check:
    name = "Better than the base"
    try:
        report = json.loads(folder.report_json.read_text("utf-8"))
        base, tuned = report["base"]["loss"], report["tuned"]["loss"]
    except (OSError, ValueError, KeyError, TypeError):
        return Check(status="skip", name=name, evidence="there is no report")
    evidence = f"held-back loss {base:.4f} before, {tuned:.4f} after, nats per answer token"
    if tuned < base:
        return Check(status="ok", name=name, evidence=evidence)
    return Check(
        status="warn",
        name=name,
        evidence=evidence,
        cause="Training did not help on rows that it did not see.",
        fix="Lower train.learning_rate or train.epochs, or add rows.",
    )

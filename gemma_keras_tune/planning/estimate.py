"""The instant estimate: what each stage of a run takes, in terms that have names. No JAX here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..model.config import GemmaConfig
from ..model.weights import parameter_count
from ..recipe import Recipe
from . import constants
from .room import Platform
from .temporaries import (
    FLOAT,
    Numbers,
    Temporaries,
    adapter_numbers,
    of_generation,
    of_scoring,
    of_training,
)
from .values import Program, Stage, Steps, Term

_BATCH_ARRAYS = 5  # ids, targets, mask, positions, segments: four bytes a token each
_SCORED_TOKENS = 256  # of a batch, for each of `evaluate.batch_rows`
_FEW_LOGITS, _MANY_LOGITS = 48, 128  # what `evaluation.score` computes at once


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the memory of a run depends on.

    Attributes:
        recipe: The recipe.
        config: Sizes of its model.
        platform: What computes.
        data_bytes: Size of the data files.
        held_back_bytes: About how much of it is held back for the report.
        answer_share: Share of the tokens that are answers, where it was counted.
    """

    recipe: Recipe
    config: GemmaConfig
    platform: Platform
    data_bytes: int = 0
    held_back_bytes: int = 0
    answer_share: float | None = None

    @property
    def length(self) -> int:
        """Tokens of a packed row."""
        return self.recipe.data.max_length

    @property
    def rows(self) -> int:
        """Rows of a micro-batch, as `training.plan.TrainPlan` counts them."""
        return max(1, self.recipe.train.micro_batch_tokens // self.length)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of an optimizer step."""
        return max(1, self.recipe.train.batch_tokens // (self.rows * self.length))

    @property
    def dtype(self) -> str:
        """Type of the frozen weights."""
        wished = self.recipe.model.dtype
        if wished == "auto":
            return "float32" if self.platform == "cpu" else "bfloat16"
        return wished

    @property
    def numbers(self) -> Numbers:
        """How many bytes a number takes."""
        size = 2 if self.dtype == "bfloat16" else FLOAT
        return Numbers(size=size, platform=self.platform)

    def with_micro_batch(self, tokens: int) -> Setting:
        """The same with another size of the micro-batch."""
        train = self.recipe.train.model_copy(update={"micro_batch_tokens": tokens})
        return replace(self, recipe=self.recipe.model_copy(update={"train": train}))


def setting_of(
    recipe: Recipe, config: GemmaConfig, platform: Platform, steps: Steps | None = None
) -> Setting:
    """The setting of a recipe.

    Args:
        recipe: The recipe; its files may be missing.
        config: Sizes of its model.
        platform: What computes.
        steps: What was counted in the data.
    """
    data = recipe.data
    sizes = [
        0 if path is None else _size(path)
        for path in (data.path, data.validation_path, data.test_path)
    ]
    return Setting(
        recipe=recipe,
        config=config,
        platform=platform,
        data_bytes=sum(sizes),
        held_back_bytes=sizes[2] if data.test_path else round(sizes[0] * data.test_share),
        answer_share=None if steps is None else steps.answer_share,
    )


def machine_stages(
    setting: Setting, compiled: Mapping[str, Program] | None = None
) -> tuple[Stage, ...]:
    """What the process takes of the machine's memory, stage by stage.

    Args:
        setting: What is planned.
        compiled: The compiler's word on `training`, `validation` and `evaluation`; where it is
            missing, the formulas are taken. On an accelerator neither matters here.
    """
    resident = _process(setting)
    weights = Term(
        name="frozen_weights",
        words=f"the model's weights, frozen, {setting.dtype}",
        bytes=_weight_bytes(setting),
    )
    if setting.platform != "cpu":
        return (
            _stage("model", [*resident, weights, _loading()]),
            _stage(
                "training",
                [*resident, *_adapters_kept(setting, copies=2), *_offloaded(setting)],
            ),
            *_export(setting, resident),
        )
    resident = [*resident, weights]
    programs = _programs(setting, "training")
    return (
        _stage("model", [*resident, _loading()]),
        _stage("training", [*resident, *_training(setting, compiled), programs]),
        _stage(
            "evaluation",
            [*resident, *_held_back(setting), *_evaluation(setting, compiled)],
        ),
        *_export(setting, [*resident, *_adapters_kept(setting, copies=1)]),
    )


def device_stages(
    setting: Setting, compiled: Mapping[str, Program] | None = None
) -> tuple[Stage, ...]:
    """What the run takes of an accelerator's memory, stage by stage.

    Args:
        setting: What is planned.
        compiled: See `machine_stages`.
    """
    weights = Term(
        name="frozen_weights",
        words=f"the model's weights, frozen, {setting.dtype}",
        bytes=_weight_bytes(setting),
    )
    return (
        _stage("model", [weights]),
        _stage("training", [weights, *_training(setting, compiled)]),
        _stage("evaluation", [weights, *_evaluation(setting, compiled, programs=False)]),
    )


def largest(stage: Stage, count: int = 3) -> str:
    """The largest terms of a stage in words, those of the process beside it among them."""
    terms = sorted((*stage.terms, *stage.beside), key=lambda term: -term.bytes)
    return "; ".join(f"{term.words}: {term.bytes / 1e9:.2f} GB" for term in terms[:count])


def _process(setting: Setting) -> list[Term]:
    pieces = setting.config.vocab_size
    terms = [
        Term(
            name="program",
            words="the program and its libraries",
            bytes=constants.PROGRAM_BYTES[setting.platform],
        ),
        Term(
            name="tokenizer",
            words=f"the tokenizer's {pieces:,} pieces",
            bytes=pieces * constants.TOKENIZER_PIECE_BYTES,
        ),
    ]
    if setting.data_bytes:
        data = Term(
            name="data",
            words="the rows and their tokens",
            bytes=min(setting.data_bytes * constants.DATA_FACTOR, constants.DATA_IN_MEMORY)
            + round(setting.data_bytes * constants.DATA_PLACES),
        )
        terms.append(data)
    return terms


def _training(setting: Setting, compiled: Mapping[str, Program] | None) -> list[Term]:
    recipe, config = setting.recipe, setting.config
    numbers = adapter_numbers(config, recipe.model.lora)
    batch = _BATCH_ARRAYS * 4 * setting.micro_batches * setting.rows * setting.length
    formula = _formula(setting)
    terms = [
        *_adapters_kept(setting, copies=2),
        Term(
            name="optimizer",
            words="AdamW's two means of the gradients",
            bytes=2 * FLOAT * numbers,
        ),
        Term(name="batch", words="the tokens of a step", bytes=batch),
    ]
    reserved = compiled.get("training") if compiled else None
    if reserved is not None:
        words = "everything that the compiled step computes with, as XLA reserves it"
        terms.append(Term(name="compiled_step", words=words, bytes=reserved.temp_bytes))
    else:
        terms += _named(formula, setting)
    return terms


def _formula(setting: Setting) -> Temporaries:
    return of_training(
        setting.config,
        setting.recipe.model.lora,
        setting.recipe.train,
        rows=setting.rows,
        length=setting.length,
        numbers=setting.numbers,
    )


def _offloaded(setting: Setting) -> list[Term]:
    """What of a device's activations waits in the machine's memory."""
    size = _formula(setting).offloaded
    words = "the results of all products, until the backward pass needs them"
    return [Term(name="offloaded", words=words, bytes=size)] if size else []


def _named(parts: Temporaries, setting: Setting) -> list[Term]:
    """The step's temporaries, each with its name."""
    recipe = setting.recipe
    tokens = setting.rows * setting.length
    remat = {
        "none": "all activations",
        "dots": "the results of all products",
        "full": "one state a layer",
        "offload": "one state a layer",
    }[recipe.train.remat]
    terms = [
        Term(
            name="activations",
            words=f"{remat}, kept for the backward pass, of {tokens:,} tokens at once",
            bytes=parts.kept,
        ),
        Term(name="gradients", words="the adapters' gradients", bytes=parts.gradients),
        Term(name="batch_states", words="hidden states and masks", bytes=parts.whole),
    ]
    if parts.logits >= parts.layer:
        words = f"logits of {min(recipe.train.loss_chunk, tokens)} answers and some words at once"
        terms.append(Term(name="logits", words=words, bytes=parts.logits))
    else:
        words = "one layer while it is computed, attention scores included"
        terms.append(Term(name="layer", words=words, bytes=parts.layer))
    if parts.copy:
        words = 'float32 copies of the weights, which `remat = "none"` makes on a CPU'
        terms.append(Term(name="float32_copy", words=words, bytes=parts.copy))
    return terms


def _evaluation(
    setting: Setting, compiled: Mapping[str, Program] | None, *, programs: bool = True
) -> list[Term]:
    recipe, config = setting.recipe, setting.config
    terms = _adapters_kept(setting, copies=1)
    if programs:
        terms.append(_programs(setting, "evaluation"))
    by_label = recipe.data.task == "classification"
    rows, length = scored_shape(setting)
    scoring = of_scoring(
        config,
        rows=rows,
        length=length,
        chunk=_FEW_LOGITS if by_label else _MANY_LOGITS,
        numbers=setting.numbers,
    ).bytes
    if compiled and "evaluation" in compiled:
        scoring = compiled["evaluation"].temp_bytes
    count = min(recipe.evaluate.samples, recipe.evaluate.batch_rows)
    cache, rest = of_generation(
        config,
        rows=max(1, count),
        prompt=setting.length,
        new=recipe.evaluate.max_tokens,
        numbers=setting.numbers,
    )
    if not count or scoring >= cache + rest:
        words = "scoring held-back rows"
        return [*terms, Term(name="scoring", words=words, bytes=scoring)]
    return [
        *terms,
        Term(name="cache", words="keys and values of the answers being written", bytes=cache),
        Term(name="generation", words="writing answers", bytes=rest),
    ]


def _held_back(setting: Setting) -> list[Term]:
    size = setting.held_back_bytes * constants.HELD_BACK_FACTOR
    return [Term(name="held_back", words="the held-back rows", bytes=size)] if size else []


def scored_shape(setting: Setting) -> tuple[int, int]:
    """`(rows, length)` of a batch of held-back rows, about: lengths are decided by the data."""
    length = _SCORED_TOKENS
    while length < min(setting.length, 512):
        length += 64
    while length < setting.length:
        length *= 2
    rows = max(1, setting.recipe.evaluate.batch_rows * _SCORED_TOKENS // length)
    return rows, length


def _export(setting: Setting, resident: list[Term]) -> list[Stage]:
    recipe, config = setting.recipe, setting.config
    if not recipe.export:
        return []
    logits = Term(
        name="export_logits",
        words="logits of the probes that the export is compared by",
        bytes=constants.EXPORT_LOGITS * config.vocab_size * FLOAT,
    )
    terms = [*resident, logits, _programs(setting, "export")]
    if setting.numbers.is_narrow:
        copy = FLOAT * parameter_count(config)
        terms.append(Term(name="float32_copy", words="a float32 copy of the weights", bytes=copy))
    child = Term(
        name="consumer",
        words="the process that reloads the export with transformers",
        bytes=constants.CONSUMER_BYTES
        + constants.CONSUMER_WEIGHT_COPIES * FLOAT * parameter_count(config),
    )
    return [_stage("export", terms, beside=(child,))]


def _adapters_kept(setting: Setting, *, copies: int) -> list[Term]:
    lora = setting.recipe.model.lora
    count = adapter_numbers(setting.config, lora)
    what = "current and best" if copies == 2 else "the best"
    words = f"the adapters of rank {lora.rank}, {what}"
    return [Term(name="adapters", words=words, bytes=copies * FLOAT * count)]


def _programs(setting: Setting, stage: str) -> Term:
    words = "the compiler and what it compiled"
    return Term(name="compiled", words=words, bytes=constants.COMPILED_BYTES[stage])


def _loading() -> Term:
    words = "the file's header, and blocks being read"
    return Term(name="loading", words=words, bytes=constants.LOADING_BYTES)


def _weight_bytes(setting: Setting) -> int:
    """What one device holds of the weights; on a CPU all devices share one memory."""
    cuts = 1 if setting.platform == "cpu" else setting.recipe.mesh.model or 1
    return parameter_count(setting.config) * setting.numbers.size // cuts


def _stage(name: str, terms: list[Term], *, beside: tuple[Term, ...] = ()) -> Stage:
    ordered = sorted((term for term in terms if term.bytes), key=lambda term: -term.bytes)
    return Stage(name=name, terms=tuple(ordered), beside=beside)


def _size(path: str) -> int:
    try:
        return os.stat(Path(path).expanduser()).st_size
    except OSError:
        return 0

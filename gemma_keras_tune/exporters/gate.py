"""The parity gate: no artifact is published before its real consumer has computed the same.

A fresh process reloads the artifact with `transformers` (and `peft`) and answers the probes; this
process answers them with the model in memory, adapters live and nothing merged, and compares.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError
from ..model.value import Model
from .consumer import LOG_NAME, Job, run_consumers, tail
from .gate_reference import Reference, in_float32, prompt_logits, reference
from .probes import MAX_PROMPT_TOKENS, Probes, make_probes

TOLERANCE = {"float32": 3e-4, "bfloat16": 0.25}
"""Largest difference of a logit, in standard deviations of the logits at a position."""

FOLLOWS = (0.75, 1.25)
"""How far the artifact must have gone along the way from base (0) to tuned (1)."""

_MIN_AGREEMENT = {"float32": 0.99, "bfloat16": 0.9}


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What the gate found; `to_json` is `parity.json`.

    Attributes:
        passed: Whether the artifact may be published.
        max_abs_diff: Largest difference of a logit.
        argmax_agreement: Share of positions with the same most probable token.
        greedy_equal: Whether the greedy continuations are the same tokens.
        differs_from_base: Whether tuned and base model differ and the artifact follows the tuned
            one; None where there is no base to compare with.
        token_ids_equal: Whether all strings give the same ids, and bos comes before them.
        chat_ids_equal: Whether the chat template gives the same ids.
        special_ids_equal: Whether bos, eos and pad are named right wherever they are named.
        stop_ids_equal: Whether generation stops after exactly the template's stop ids.
        tolerance: What `max_abs_diff` may be.
        tolerance_rule: How that was chosen.
        logits_std: Standard deviation of the logits at a position.
        base_max_abs_diff: Largest difference between a logit of the tuned and of the base model.
        follows_tuned: 1 if the artifact is the tuned model, 0 if it is the base.
        prompts: How many prompts were computed.
        positions: At how many positions logits were compared.
        greedy_tokens: Length of the greedy continuation.
        variants: In which ways the artifact was loaded.
        versions: Of the consumers.
        problems: What failed, one sentence each.
    """

    passed: bool
    max_abs_diff: float
    argmax_agreement: float
    greedy_equal: bool
    differs_from_base: bool | None
    token_ids_equal: bool
    chat_ids_equal: bool
    special_ids_equal: bool
    stop_ids_equal: bool
    tolerance: float
    tolerance_rule: str
    logits_std: float
    base_max_abs_diff: float | None
    follows_tuned: float | None
    prompts: int
    positions: int
    greedy_tokens: int
    variants: tuple[str, ...]
    versions: dict[str, str]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """Our answers to the probes, computed once for any number of artifacts of one model.

    Attributes:
        model: The tuned model.
        probes: What was asked.
        tuned: Its answers.
        base_logits: The base model's logits for the prompts up to 128 tokens, or None.
    """

    model: Model
    probes: Probes
    tuned: Reference
    base_logits: list[np.ndarray] | None


def check_artifact(
    job: Job, model: Model, *, dtype: str, base: Model | None, work_dir: Path
) -> Parity:
    """What the gate finds for one artifact.

    Args:
        job: The artifact.
        model: What it must compute.
        dtype: What the artifact's weights may have been rounded to.
        base: The model before training; by default `model` without its adapters, if it has some.
        work_dir: An empty folder for the logits, about 200 MB for Gemma 3.

    Raises:
        ExportError: If the consumer's process fails, or can't load the artifact at all.
    """
    if job.compute_dtype == "float32":
        # The same numbers must meet the same arithmetic: bfloat16 rounds after every product, and
        # that would hide a fault of the artifact, or look like one.
        model, base = in_float32(model, base)
    expected = expect(model, base=base)
    results, versions = run_consumers([job], expected.probes, work_dir)
    if results[0]["error"] is not None:
        raise ExportError(
            f"The written {job.kind} artifact can't be loaded by its own consumer: "
            f"{results[0]['error']}. It is not published. Its last lines:\n"
            f"{tail(work_dir / LOG_NAME)}",
            code="EXPORT_CONSUMER",
        )
    rule = "float32" if {dtype, job.compute_dtype} == {"float32"} else "bfloat16"
    return compare(expected, results[0], rule=rule, work_dir=work_dir, versions=versions)


def expect(model: Model, *, base: Model | None = None) -> Expected:
    """Our own answers for this model.

    Args:
        model: The tuned model.
        base: As for `check_artifact`.
    """
    probes = make_probes(model)
    if base is None and model.adapters is not None:
        base = model.replace(adapters=None)
    base_logits = None
    if base is not None and base is not model:
        short = tuple(p for p in probes.prompts if len(p.ids) <= MAX_PROMPT_TOKENS)
        base_logits = prompt_logits(base, short)
    return Expected(
        model=model, probes=probes, tuned=reference(model, probes), base_logits=base_logits
    )


def compare(
    expected: Expected,
    result: dict[str, Any],
    *,
    rule: str,
    work_dir: Path,
    versions: dict[str, str],
) -> Parity:
    """What the consumer's answers show.

    Args:
        expected: Our answers.
        result: One result of `run_consumers`, without an error.
        rule: `float32`, or `bfloat16` if anything was rounded to it.
        work_dir: Where the logits are.
        versions: Of the consumers.
    """
    tuned = expected.tuned
    tolerance = TOLERANCE[rule] * tuned.std
    variants = [
        _compare_variant(expected, found, tolerance=tolerance, work_dir=work_dir)
        for found in result["variants"].values()
    ]
    measured = {
        "max_abs_diff": max(variant["max_abs_diff"] for variant in variants),
        "argmax_agreement": min(variant["argmax_agreement"] for variant in variants),
        "greedy_equal": all(variant["greedy_equal"] for variant in variants),
        **_compare_base(expected, variants, tolerance),
        **_compare_text(expected, result),
    }
    problems = _problems(measured, variants, tolerance=tolerance, rule=rule)
    return Parity(
        passed=not problems,
        **measured,
        tolerance=tolerance,
        tolerance_rule=(
            f"{TOLERANCE[rule]:g} standard deviations of the logits "
            f"({'all in float32' if rule == 'float32' else 'rounded to bfloat16 on the way'})"
        ),
        logits_std=tuned.std,
        prompts=len(tuned.logits),
        positions=sum(len(rows) for rows in tuned.logits),
        greedy_tokens=len(tuned.greedy),
        variants=tuple(result["variants"]),
        versions=versions,
        problems=tuple(problems),
    )


def _compare_variant(
    expected: Expected, found: dict[str, Any], *, tolerance: float, work_dir: Path
) -> dict[str, Any]:
    tuned = expected.tuned
    differences, same, along = [], [], []
    for index, (ours, name) in enumerate(zip(tuned.logits, found["logits"], strict=True)):
        theirs = np.load(work_dir / name)
        if theirs.shape != ours.shape:
            raise ExportError(
                f"The artifact answers with logits of shape {list(theirs.shape)}, not "
                f"{list(ours.shape)}.",
                code="EXPORT_PARITY",
            )
        # NaN compares as the worst, not as no difference at all
        differences.append(float(np.nan_to_num(np.abs(theirs - ours), nan=np.inf).max()))
        same.append(theirs.argmax(-1) == ours.argmax(-1))
        if expected.base_logits is not None and index < len(expected.base_logits):
            base = expected.base_logits[index]
            step = (ours - base).astype(np.float64)
            along.append((float(np.sum(step * (theirs - base))), float(np.sum(step * step))))
    squared = sum(part[1] for part in along)
    return {
        "max_abs_diff": max(differences),
        "argmax_agreement": float(np.concatenate(same).mean()),
        "greedy_equal": found["greedy"] == tuned.greedy,
        "greedy_excused": _only_a_tie(tuned, found["greedy"], tolerance),
        "follows_tuned": sum(part[0] for part in along) / squared if squared else None,
    }


def _only_a_tie(tuned: Reference, theirs: list[int], tolerance: float) -> bool:
    """Whether the first different token is one that rounding within the tolerance explains."""
    for row, ours, other in zip(tuned.greedy_logits, tuned.greedy, theirs, strict=False):
        if ours != other:
            return bool(row[ours] - row[other] <= 2 * tolerance)
    return len(theirs) == len(tuned.greedy)


def _compare_base(
    expected: Expected, variants: list[dict[str, Any]], tolerance: float
) -> dict[str, Any]:
    if expected.base_logits is None:
        return {"differs_from_base": None, "base_max_abs_diff": None, "follows_tuned": None}
    pairs = zip(expected.tuned.logits, expected.base_logits, strict=False)
    moved = max(float(np.abs(tuned - base).max()) for tuned, base in pairs)
    shares = [variant["follows_tuned"] for variant in variants]
    follows = None if None in shares else min(shares, key=lambda share: -abs(share - 1))
    return {
        "differs_from_base": bool(
            moved > tolerance and follows is not None and FOLLOWS[0] <= follows <= FOLLOWS[1]
        ),
        "base_max_abs_diff": moved,
        "follows_tuned": follows,
    }


def _compare_text(expected: Expected, result: dict[str, Any]) -> dict[str, bool]:
    template, probes = expected.model.template, expected.probes
    tokenizer = template.tokenizer
    token_ids = [tokenizer.encode(text) for text in probes.texts]
    decoded = [tokenizer.decode(ids) for ids in token_ids]
    chats = [
        list(template.render(turns, add_generation_prompt=ask).ids) for turns, ask in probes.chats
    ]
    special = {"bos": tokenizer.bos_id, "pad": tokenizer.pad_id}
    ends = sorted(template.stop_ids)
    expected_special = {
        "config.json": special | {"eos": ends},
        "generation_config.json": special | {"eos": ends},
        "tokenizer_config.json": special | {"eos": [tokenizer.eos_id]},
    }
    found_special = {
        place: {**ids, "eos": sorted(np.atleast_1d(ids["eos"]).tolist())}
        for place, ids in result["special_ids"].items()
    }
    stops = [token in template.stop_ids for token in probes.stop_candidates]
    return {
        "token_ids_equal": result["token_ids"] == token_ids
        and result["decoded"] == decoded
        and result["with_bos"] == [tokenizer.bos_id, *tokenizer.encode("a")],
        "chat_ids_equal": result["chat_ids"] == chats,
        "special_ids_equal": found_special == expected_special,
        "stop_ids_equal": result["stops"] == stops,
    }


def _problems(
    measured: dict[str, Any], variants: list[dict[str, Any]], *, tolerance: float, rule: str
) -> list[str]:
    problems = []
    if not measured["max_abs_diff"] <= tolerance:
        problems.append(
            f"its logits are off by up to {measured['max_abs_diff']:.3g}, allowed are "
            f"{tolerance:.3g}"
        )
    if measured["argmax_agreement"] < _MIN_AGREEMENT[rule]:
        problems.append(
            f"it agrees on the most probable token at {measured['argmax_agreement']:.1%} of the "
            f"positions, asked are {_MIN_AGREEMENT[rule]:.0%}"
        )
    if not all(variant["greedy_equal"] or variant["greedy_excused"] for variant in variants):
        problems.append("its greedy continuation is another one")
    if measured["differs_from_base"] is False:
        problems.append(_base_problem(measured, tolerance))
    for key, what in (
        ("token_ids_equal", "its tokenizer gives other ids"),
        ("chat_ids_equal", "its chat template gives other ids"),
        ("special_ids_equal", "it names other ids for bos, eos or pad"),
        ("stop_ids_equal", "it stops after other tokens"),
    ):
        if not measured[key]:
            problems.append(what)
    return problems


def _base_problem(measured: dict[str, Any], tolerance: float) -> str:
    moved, follows = measured["base_max_abs_diff"], measured["follows_tuned"]
    if moved <= tolerance:
        return (
            f"training changed no logit by more than {moved:.3g}, which is within the tolerance of "
            f"{tolerance:.3g}: train longer or with a higher learning rate, or export in float32"
        )
    return (
        f"it is not the tuned model: it went {follows:.0%} of the way from the base to it, so the "
        "adapter was left out or scaled wrongly"
    )

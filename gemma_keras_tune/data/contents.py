"""What the rows say: repetitions, contradictions, labels, letters that cause trouble."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from .examples import Example, Examples
from .findings import PLACES, Finding, finding, finding_about, place
from .label_spellings import listed
from .split import HASH_BYTES, hash_numbers, input_key

FEW_ROWS = 50
IMBALANCE = 10  # rows of the most common label for one of the rarest
MANY_LABELS = 50
SHORT_LETTERS = 3

# The markers of all Gemma families. Text that spells them is harmless here, but worth knowing.
CONTROL_TEXT = re.compile(
    r"<(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_image|unused\d+"
    r"|\|[^<>|\s]{1,32}|[^<>|\s]{1,32}\||\|[^<>|\s]{1,32}\|)>|\[multimodal\]"
)
# Letters that are not shown, but for the joiners that emoji and some scripts need.
_HIDDEN = re.compile("[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")


def judge_contents(examples: Examples) -> list[Finding]:
    """Warnings and remarks about what the usable rows of all splits say."""
    every = examples.every
    if not every:
        return []
    findings = _repetitions(every, classification=examples.task == "classification")
    if examples.task == "classification":
        findings += _labels(examples)
    elif examples.task != "text":
        what = f"Answers below {SHORT_LETTERS} letters."
        findings += _about("SHORT_ANSWERS", what, every, _has_short_answer)
    findings += _letters(every)
    if len(examples.train) < FEW_ROWS:
        what = f"There are only {len(examples.train)} rows to learn from."
        findings.append(finding("FEW_ROWS", what, count=len(examples.train)))
    return findings


def _repetitions(every: Sequence[Example], *, classification: bool) -> list[Finding]:
    inputs, pairs = bytearray(), bytearray()
    for example in every:
        key, answer = input_key(example.turns), example.turns[-1].text.strip()
        inputs += key[:HASH_BYTES]
        pairs += hashlib.sha256(key + answer.encode("utf-8", "surrogatepass")).digest()[:HASH_BYTES]
    asked, said = hash_numbers(inputs), hash_numbers(pairs)
    _, firsts, kinds = np.unique(said, return_index=True, return_inverse=True)
    repeated = np.setdiff1d(np.arange(len(every)), firsts)
    findings = []
    if len(repeated):
        what = "Rows that repeat an earlier one."
        earlier = (every[int(index)] for index in firsts[kinds[repeated[:PLACES]]])
        same_as = tuple(place(row.file, row.row) for row in earlier)
        found = finding_about("DUPLICATE_ROWS", what, every, repeated)
        findings.append(replace(found, same_as=same_as))
    if classification:
        keys, answers = np.unique(asked[firsts], return_counts=True)
        torn = np.flatnonzero(np.isin(asked, keys[answers > 1]))
        if len(torn):
            what = "One text has several labels."
            findings.append(finding_about("CONTRADICTING_ROWS", what, every, torn))
    return findings


def _misspelt(examples: Examples) -> set[str]:
    """Labels that are probably another one: they need no rows of their own."""
    return {label for item in examples.findings for label in item.settings.get("same_labels", ())}


def _labels(examples: Examples) -> list[Finding]:
    every, misspelt = examples.every, _misspelt(examples)
    counts = Counter(example.label for example in every if example.label is not None)
    findings = []
    if len(counts) == 1:
        what = f"Every row has the label {next(iter(counts))!r}."
        found = finding("SINGLE_CLASS", what, count=len(every))
        is_refused = len(examples.labels) == 1 and len(examples.test) > 0  # by the report
        findings.append(replace(found, severity="error") if is_refused else found)
    rare = {label for label in (*examples.labels, *counts) if counts[label] < 2} - misspelt
    if rare:
        places = (place(row.file, row.row) for row in every if row.label in rare)
        what = f"Fewer than two rows each: {listed(rare)}."
        where = list(islice(places, PLACES))
        findings.append(finding("RARE_LABEL", what, count=len(rare), where=where))
    meant = [(label, rows) for label, rows in counts.most_common() if label not in misspelt]
    (_, most), (rarest, least) = meant[0], meant[-1]
    if most > IMBALANCE * least:
        few = f"{least} row{'s' if least > 1 else ''}"
        what = f"The label {rarest!r} has {few}, the most common one {most}."
        findings.append(finding("LABEL_IMBALANCE", what, count=least))
    if len(counts) > max(MANY_LABELS, len(every) // 2):
        what = f"{len(every)} rows have {len(counts)} different labels."
        findings.append(finding("TOO_MANY_LABELS", what, count=len(counts)))
    return findings


def _letters(every: Sequence[Example]) -> list[Finding]:
    tests = {
        "CONTROL_TEXT": (CONTROL_TEXT, "Texts that spell control tokens."),
        "WORD_SPACE_LETTER": (re.compile("\u2581"), "Texts with the letter U+2581."),
        "HIDDEN_LETTERS": (_HIDDEN, "Texts with zero-width or direction letters."),
        "REPLACEMENT_LETTERS": (re.compile("\ufffd"), "Texts with U+FFFD."),
    }
    places: dict[str, list[int]] = {code: [] for code in tests}
    for index, row in enumerate(every):
        for code, (pattern, _) in tests.items():
            if any(pattern.search(turn.text) for turn in row.turns):
                places[code].append(index)
    return [
        finding_about(code, what, every, places[code])
        for code, (_, what) in tests.items()
        if places[code]
    ]


def _about(
    code: str, what: str, every: Sequence[Example], is_one: Callable[[Example], bool]
) -> list[Finding]:
    places = [index for index, row in enumerate(every) if is_one(row)]
    return [finding_about(code, what, every, places)] if places else []


def _has_short_answer(row: Example) -> bool:
    return len(row.turns[-1].text.strip()) < SHORT_LETTERS

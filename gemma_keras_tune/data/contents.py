"""What the rows say: repetitions, contradictions, labels, letters that cause trouble."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from .examples import Example, Examples
from .findings import PLACES, Finding, finding, finding_about, place
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
        findings += _labels(every, allowed=examples.labels)
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


def _labels(every: Sequence[Example], *, allowed: Sequence[str]) -> list[Finding]:
    counts = Counter(example.label for example in every if example.label is not None)
    findings = []
    if len(counts) == 1:
        what = f"Every row has the label {next(iter(counts))!r}."
        findings.append(finding("SINGLE_CLASS", what, count=len(every)))
    rare = {label for label in (*allowed, *counts) if counts[label] < 2}
    if rare:
        places = (place(row.file, row.row) for row in every if row.label in rare)
        what = f"Fewer than two rows each: {_listed(rare)}."
        where = list(islice(places, PLACES))
        findings.append(finding("RARE_LABEL", what, count=len(rare), where=where))
    (_, most), (rarest, least) = counts.most_common()[0], counts.most_common()[-1]
    if len(counts) > 1 and most > IMBALANCE * least:
        few = f"{least} row{'s' if least > 1 else ''}"
        what = f"The label {rarest!r} has {few}, the most common one {most}."
        findings.append(finding("LABEL_IMBALANCE", what, count=least))
    if len(counts) > max(MANY_LABELS, len(every) // 2):
        what = f"{len(every)} rows have {len(counts)} different labels."
        findings.append(finding("TOO_MANY_LABELS", what, count=len(counts)))
    spellings: dict[str, set[str]] = {}
    for label in counts:
        spellings.setdefault("".join(label.casefold().split()), set()).add(label)
    alike = [group for group in spellings.values() if len(group) > 1]
    if alike:
        usual = {max(group, key=lambda label: (counts[label], label)) for group in alike}
        odd = set().union(*alike) - usual
        what = f"Hardly different: {_listed(odd | usual, counts)}."
        findings += _about("LABEL_SPELLING", what, every, lambda row: row.label in odd)
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


def _listed(labels: Iterable[str], counts: Mapping[str, int] | None = None) -> str:
    """The first ten labels, with the rows of each where they are given."""
    names = sorted(labels)
    shown = [f"{name!r}{_rows(counts[name]) if counts else ''}" for name in names[:10]]
    return ", ".join(shown) + (", ..." if len(names) > 10 else "")


def _rows(count: int) -> str:
    return f" ({count} row{'s' if count > 1 else ''})"

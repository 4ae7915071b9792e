"""What the rows say: repetitions, contradictions, labels, letters that cause trouble."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from .examples import Example, Examples
from .findings import Finding, finding, place
from .split import input_key

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
    every = (*examples.train, *examples.validation, *examples.test)
    if not every:
        return []
    findings = _repetitions(every, classification=examples.task == "classification")
    if examples.task == "classification":
        findings += _labels(every, allowed=examples.labels)
    elif examples.task != "text":
        short = [row for row in every if len(row.turns[-1].text.strip()) < SHORT_LETTERS]
        findings += _about("SHORT_ANSWERS", f"Answers below {SHORT_LETTERS} letters.", short)
    findings += _letters(every)
    if len(examples.train) < FEW_ROWS:
        what = f"There are only {len(examples.train)} rows to learn from."
        findings.append(finding("FEW_ROWS", what, count=len(examples.train)))
    return findings


def _repetitions(every: Sequence[Example], *, classification: bool) -> list[Finding]:
    seen: set[tuple[bytes, str]] = set()
    answers: dict[bytes, set[str]] = {}
    repeated = []
    keys = [input_key(example.turns) for example in every]
    for key, example in zip(keys, every, strict=True):
        answer = example.turns[-1].text.strip()
        if (key, answer) in seen:
            repeated.append(example)
        seen.add((key, answer))
        answers.setdefault(key, set()).add(answer)
    findings = _about("DUPLICATE_ROWS", "Rows that repeat an earlier one.", repeated)
    if classification:
        torn = [row for key, row in zip(keys, every, strict=True) if len(answers[key]) > 1]
        findings += _about("CONTRADICTING_ROWS", "One text has several labels.", torn)
    return findings


def _labels(every: Sequence[Example], *, allowed: Sequence[str]) -> list[Finding]:
    counts = Counter(example.label for example in every if example.label is not None)
    findings = []
    if len(counts) == 1:
        what = f"Every row has the label {next(iter(counts))!r}."
        findings.append(finding("SINGLE_CLASS", what, count=len(every)))
    rare = {label for label in (*allowed, *counts) if counts[label] < 2}
    if rare:
        where = [place(row.file, row.row) for row in every if row.label in rare]
        what = f"Fewer than two rows each: {_listed(rare)}."
        findings.append(finding("RARE_LABEL", what, count=len(rare), where=where))
    (_, most), (rarest, least) = counts.most_common()[0], counts.most_common()[-1]
    if len(counts) > 1 and most > IMBALANCE * least:
        what = f"The label {rarest!r} has {least} rows, the most common one {most}."
        findings.append(finding("LABEL_IMBALANCE", what, count=least))
    if len(counts) > max(MANY_LABELS, len(every) // 2):
        what = f"{len(every)} rows have {len(counts)} different labels."
        findings.append(finding("TOO_MANY_LABELS", what, count=len(counts)))
    spellings: dict[str, set[str]] = {}
    for label in counts:
        spellings.setdefault("".join(label.casefold().split()), set()).add(label)
    alike = {label for group in spellings.values() if len(group) > 1 for label in group}
    if alike:
        rows = [example for example in every if example.label in alike]
        findings += _about("LABEL_SPELLING", f"Hardly different: {_listed(alike)}.", rows)
    return findings


def _letters(every: Sequence[Example]) -> list[Finding]:
    tests = {
        "CONTROL_TEXT": (CONTROL_TEXT.search, "Texts that spell control tokens."),
        "WORD_SPACE_LETTER": (re.compile("\u2581").search, "Texts with the letter U+2581."),
        "HIDDEN_LETTERS": (_HIDDEN.search, "Texts with zero-width or direction letters."),
        "REPLACEMENT_LETTERS": (re.compile("\ufffd").search, "Texts with U+FFFD."),
    }
    findings = []
    for code, (found, what) in tests.items():
        rows = [row for row in every if any(found(turn.text) for turn in row.turns)]
        findings += _about(code, what, rows)
    return findings


def _about(code: str, what: str, rows: Sequence[Example]) -> list[Finding]:
    if not rows:
        return []
    where = [place(row.file, row.row) for row in rows[:10]]
    return [finding(code, what, count=len(rows), where=where)]


def _listed(labels: Iterable[str]) -> str:
    names = sorted(labels)
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")

"""Labels that are probably another one, spelt in another way: told, and never merged unasked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Protocol

from .findings import Finding, HasPlace, finding_about

OUTNUMBERED = 5  # rows of a label for one of a label that may be this one misspelt
SHORTEST = 5  # letters of a word that may be misspelt
LONG = 8  # letters from which on two may be wrong
COMPARED = 500  # labels at most; where there are more, they are hardly typed by hand
LISTED = 10  # labels that a finding names

_BETWEEN_WORDS = re.compile(r"[\W_]+")


class HasLabel(HasPlace, Protocol):
    """A row with its label."""

    @property
    def label(self) -> str | None:
        """None where the task has no labels."""


def judge_spellings(rows: Sequence[HasLabel], counts: Mapping[str, int]) -> list[Finding]:
    """Warnings about labels that are hardly different, and about rare ones like a frequent one.

    Each finding's `settings` say what `data.same_labels` would have to hold.

    Args:
        rows: The usable rows.
        counts: Rows of each label.
    """
    hardly, alike = same_spelling(counts), look_alike(counts)
    what = {
        "LABEL_SPELLING": (hardly, "Hardly different: {labels}."),
        "SIMILAR_LABELS": (alike, "Labels that look alike: {labels}."),
    }
    findings = []
    for code, (pairs, text) in what.items():
        if pairs:
            told = text.format(labels=listed({*pairs, *pairs.values()}, counts))
            places = [index for index, row in enumerate(rows) if row.label in pairs]
            found = finding_about(code, told, rows, places)
            findings.append(replace(found, settings={"same_labels": pairs}))
    return findings


def same_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """Labels that are another one but for case and blanks, and which: the one with most rows.

    Args:
        counts: Rows of each label.
    """
    pairs: dict[str, str] = {}
    for group in _groups(counts):
        usual = _usual(group, counts)
        pairs |= {label: usual for label in sorted(group) if label != usual}
    return pairs


def look_alike(counts: Mapping[str, int]) -> dict[str, str]:
    """Rare labels that are a letter or two away from a frequent one, and which.

    The other spellings that `same_spelling` names count as one label here.

    Args:
        counts: Rows of each label.
    """
    groups = {_usual(one, counts): sum(counts[label] for label in one) for one in _groups(counts)}
    if len(groups) > COMPARED:
        return {}
    pairs = {}
    for rare, few in sorted(groups.items()):
        frequent = [label for label, many in groups.items() if many >= OUTNUMBERED * few]
        near = [label for label in frequent if is_near(rare, label)]
        if near:
            pairs[rare] = max(near, key=lambda label: (groups[label], label))
    return pairs


def is_near(one: str, other: str) -> bool:
    """Whether one label may be the other one misspelt.

    It has as many words, and those that differ are long, begin alike and differ in a letter, from
    `LONG` letters on in two. So `level one` isn't near `level two`, `grade 1` isn't near `grade 2`,
    and `inactive` isn't near `active`.

    Args:
        one: A label.
        other: Another.
    """
    words, others = (_BETWEEN_WORDS.split(label.casefold()) for label in (one, other))
    if len(words) != len(others) or max(len(one), len(other)) < SHORTEST:
        return False
    pairs = zip(words, others, strict=True)
    return all(left == right or _is_misspelt(left, right) for left, right in pairs)


def listed(labels: Collection[str], counts: Mapping[str, int] | None = None) -> str:
    """The first labels, with the rows of each where they are given.

    Args:
        labels: What is listed.
        counts: Rows of each label.
    """
    names = sorted(labels)
    shown = [f"{name!r}{_rows(counts[name]) if counts else ''}" for name in names[:LISTED]]
    return ", ".join(shown) + (", ..." if len(names) > LISTED else "")


def _rows(count: int) -> str:
    return f" ({count} row{'s' if count > 1 else ''})"


def _groups(counts: Mapping[str, int]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for label in counts:
        groups.setdefault("".join(label.casefold().split()), []).append(label)
    return list(groups.values())


def _usual(group: Collection[str], counts: Mapping[str, int]) -> str:
    return max(group, key=lambda label: (counts[label], label))


def _is_misspelt(one: str, other: str) -> bool:
    longest = max(len(one), len(other))
    wrong = 2 if longest >= LONG else 1
    if longest < SHORTEST or one[:1] != other[:1] or _digits(one) != _digits(other):
        return False
    same = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return longest - sum(block.size for block in same) <= wrong


def _digits(word: str) -> str:
    return "".join(letter for letter in word if letter.isdigit())

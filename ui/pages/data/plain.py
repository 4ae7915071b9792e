"""What the library says of data, as a page says it: rows of a person's file, and codes apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gemma_keras_tune.data_codes import CODES
from gemma_keras_tune.errors import TuneError

from ...api.datasets import get_dataset
from ...identity.access import Action
from ...words import data as words
from ..visit import Visit
from .remedies import in_plain_words

_FINDING = re.compile(rf"\b({'|'.join(CODES)})(?: \((\d+)x: ([^()]*)\))?: ")
_LINE = re.compile(r":(\d{1,9})(?::|$)")
MISSPELT = ("LABEL_SPELLING", "SIMILAR_LABELS")
"""What is found where labels may be one."""

_DEALT_WITH = ("TRUNCATED", "DROPPED")  # as the recipe asks


class Plain(NamedTuple):
    """A message for people, and the codes that were in it."""

    text: str
    codes: tuple[str, ...]


def plain(message: str, *, file_name: str) -> Plain:
    """A message with rows in the place of `file:line`, and without codes and names of settings.

    Args:
        message: Of findings, as errors and events have it; another one stays as it is.
        file_name: What a person calls the file; "" where that isn't known.
    """
    codes: list[str] = []

    def told(found: re.Match[str]) -> str:
        code, count, places = found.groups()
        codes.append(code)
        return "" if places is None else _place(int(count), places.split(", "), file_name)

    text = _FINDING.sub(told, message)
    for code in codes:
        text = text.replace(CODES[code].fix, words.FIXES_ELSEWHERE.get(code, CODES[code].fix))
    return Plain(in_plain_words(text), tuple(dict.fromkeys(codes)))


def lines_in(places: list[str]) -> list[int]:
    """The numbers of the lines in `file:line` and `file:line:column`, in their order."""
    found = [match for place in places if (match := _LINE.search(place))]
    return list(dict.fromkeys(int(match[1]) for match in found if int(match[1]) > 0))


def is_remark(code: str) -> bool:
    """Whether what a run says of its data spoils nothing.

    That is what is only good to know, and rows that were left out or cut, as was asked.
    """
    kind = CODES.get(code)
    return code in _DEALT_WITH or (kind is not None and (kind.by_row or kind.severity == "info"))


async def file_name_of(visit: Visit, data: Mapping[str, Any]) -> str:
    """What a person calls the file of a recipe's section `data`; "" where it is gone, or not one.

    Args:
        visit: The open page.
        data: With names or with paths.
    """
    if data.get("validation_path") or data.get("test_path"):
        return ""
    kind, _, rest = visit.without_paths(str(data.get("path") or "")).partition(":")
    if kind != "dataset":
        return rest
    try:
        return (await get_dataset(visit.asked(Action.VIEW_DATA), rest)).file_name
    except TuneError:
        return ""


def _place(count: int, places: list[str], file_name: str) -> str:
    lines = [str(line) for line in lines_in(places)]
    if not lines:
        return words.AT_FILE.format(file=file_name) if file_name else ""
    more = words.AND_MORE.format(count=count - len(lines)) if count > len(lines) else ""
    text = words.AT_ROW if count == 1 else words.AT_ROWS
    of_file = words.OF_FILE.format(file=file_name) if file_name else ""
    return text.format(rows=", ".join(lines) + more, of_file=of_file)

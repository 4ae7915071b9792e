"""What the cells of a table say about its columns, where their names say nothing.

It is only ever a suggestion that a person looks at: no command trains on it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Any

from .read import Table

LOOKED_AT = 1000  # rows that are enough to tell
_LEAST_ROWS = 10
_FILLED = 0.8  # share of the rows in which a column that plays a part has a value
_DIFFERENT = 0.8  # share of different values in a column of texts
_LEAST_WORDS = 4
_MOST_LABELS = 20
_LONGEST_LABEL = 40  # characters
_SEVERAL = 3  # rows of a label
_REPEATED = 0.95  # share of the rows whose label has several
_WORD = re.compile(r"[^\W\d_]{2,}")
# Chinese, Japanese and Thai are written without spaces: about so many letters make a word.
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_LETTERS_OF_A_WORD = 2


def columns_by_contents(table: Table) -> dict[str, str]:
    """Column by part of a classification, `text` and `label`, as far as the cells tell.

    The only column of long and mostly different texts is the text. The only column of 2 to 20
    short names, each in several rows, is the label. Numbers, dates and ids are neither. Without a
    text nothing is said, and of several candidates none is taken.

    Args:
        table: The file's first rows; `LOOKED_AT` of them are enough.
    """
    if len(table.rows) < _LEAST_ROWS:
        return {}
    values = {name: _filled(row.get(name) for row in table.rows) for name in table.columns}
    values = {name: one for name, one in values.items() if len(one) >= _FILLED * len(table.rows)}
    texts = [name for name, one in values.items() if _are_texts(one)]
    if len(texts) != 1:
        return {}
    labels = [name for name, one in values.items() if _are_labels(one)]
    found = {"text": texts[0]}
    return found | {"label": labels[0]} if len(labels) == 1 else found


def _filled(cells: Iterable[Any]) -> list[str]:
    """The texts among the cells, without white space around them."""
    return [text for cell in cells if isinstance(cell, str) and (text := cell.strip())]


def _are_texts(values: list[str]) -> bool:
    is_different = len(set(values)) >= _DIFFERENT * len(values)
    return is_different and median(map(_words, values)) >= _LEAST_WORDS


def _words(text: str) -> float:
    unspaced = len(_UNSPACED.findall(text)) / _LETTERS_OF_A_WORD
    return max(unspaced, sum(1 for piece in text.split() if _WORD.search(piece)))


def _are_labels(values: list[str]) -> bool:
    rows = Counter(values)
    usual = [count for count in rows.values() if count >= _SEVERAL]
    return (
        len(usual) >= 2
        and len(rows) <= _MOST_LABELS
        and sum(usual) >= _REPEATED * len(values)
        and all(_is_name(value) for value in rows)
    )


def _is_name(value: str) -> bool:
    """Whether it is short and has more letters than digits, as neither a number nor a date has."""
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    return letters > digits and len(value) <= _LONGEST_LABEL

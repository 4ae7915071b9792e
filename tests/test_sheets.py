"""Tables for spreadsheets, read back with Python's own reader."""

from __future__ import annotations

import csv
import io

import pytest

from gemma_keras_tune.sheets import sheet


def cells(data: bytes, *, delimiter: str = ",") -> list[list[str]]:
    text = data.decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.mark.parametrize(
    "text", ["=1+1", "+A1", "-1-A1", "@SUM(A1)", " =1", "\t=1", "\rx", "\n=1", "\uff1d1", '=1,"2"']
)
def test_no_text_is_a_formula(text: str) -> None:
    assert cells(b"".join(sheet([[text]]))) == [[f"'{text}"]]


def test_numbers_and_plain_texts_stay_as_they_are() -> None:
    line: list[str | float | None] = ["a=b", "Grüße,\n„heute“", "", -0.5, 7, "-1", "+1.5%", None]
    data = b"".join(sheet([["x"], line]))
    assert data.startswith(b"\xef\xbb\xbfx\r\n") and data.count(b"\xef\xbb\xbf") == 1
    assert cells(data)[1] == ["a=b", "Grüße,\n„heute“", "", "-0.5", "7", "-1", "+1.5%", ""]


def test_where_one_writes_a_comma_in_numbers_semicolons_stand_between_cells() -> None:
    data = b"".join(sheet([["a; b", "c. d, e", 0.5]], decimal_comma=True))
    assert cells(data, delimiter=";") == [["a; b", "c. d, e", "0,5"]]

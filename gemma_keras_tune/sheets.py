"""Tables as spreadsheets open them: with the mark that Excel knows UTF-8 by, and no formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the wide forms of the signs count too
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*%?")


def disarmed(text: str) -> str:
    """The text, with an apostrophe before it if a spreadsheet could take it for a formula.

    Whoever opens the file then runs nothing that somebody wrote into a cell. Numbers stay as they
    are, whatever their sign.

    Source:
        OWASP, CSV Injection, owasp.org/www-community/attacks/CSV_Injection.
    """
    is_formula = text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA)
    return f"'{text}" if is_formula and not _NUMBER.fullmatch(text) else text


def sheet(
    lines: Iterable[Sequence[str | float | None]], *, decimal_comma: bool = False
) -> Iterator[bytes]:
    """The lines of a CSV in UTF-8, one after the other, the byte order mark before the first.

    Args:
        lines: Cells; None is an empty one. Texts are `disarmed`.
        decimal_comma: Whether the reader's language writes 0,5. Excel then expects semicolons
            between the cells.
    """
    text = io.StringIO("\ufeff", newline="")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, delimiter=";" if decimal_comma else ",")
    for line in lines:
        writer.writerow([_cell(cell, decimal_comma=decimal_comma) for cell in line])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def number_as_text(number: float, *, decimal_comma: bool) -> str:
    """The number with a point or a comma before its decimals."""
    return str(number).replace(".", ",") if decimal_comma else str(number)


def _cell(cell: str | float | None, *, decimal_comma: bool) -> str:
    if isinstance(cell, str):
        return disarmed(cell)
    if cell is None:
        return ""
    return number_as_text(cell, decimal_comma=decimal_comma)

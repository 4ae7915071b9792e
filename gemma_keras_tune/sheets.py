"""Tables as spreadsheets open them: with the mark that Excel knows UTF-8 by, and no formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the wide forms of the signs count too


def sheet(
    lines: Iterable[Sequence[str | float | None]], *, decimal_comma: bool = False
) -> Iterator[bytes]:
    """The lines of a CSV in UTF-8, one after the other, the byte order mark before the first.

    A text that a spreadsheet could take for a formula gets an apostrophe before it, so whoever
    opens the file runs nothing that somebody wrote into a cell.

    Args:
        lines: Cells; None is an empty one.
        decimal_comma: Whether the reader's language writes 0,5. Excel then expects semicolons
            between the cells.

    Source:
        OWASP, CSV Injection, owasp.org/www-community/attacks/CSV_Injection.
    """
    text = io.StringIO("\ufeff", newline="")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, delimiter=";" if decimal_comma else ",")
    for line in lines:
        writer.writerow([_cell(cell, decimal_comma=decimal_comma) for cell in line])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _cell(cell: str | float | None, *, decimal_comma: bool) -> str:
    if isinstance(cell, str):
        is_formula = cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA)
        return f"'{cell}" if is_formula else cell
    if cell is None:
        return ""
    return str(cell).replace(".", ",") if decimal_comma else str(cell)

"""Bytes to lines of text: encodings are taken from the file or the recipe, never guessed."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from .findings import fatal, place

LINE_LIMIT = 16 * 1024 * 1024  # letters in one line
SAMPLE_BYTES = 64 * 1024

# Bytes that are not of the encoding arrive as these (PEP 383), so that each bad line is known.
UNDECODED = re.compile("[\udc80-\udcff]")

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What programs for tables write where it isn't Unicode, by the names that `chardet` knows.
_WRITTEN = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp874", "cp932", "euc_jis_2004", "gb18030", "big5hkscs", "cp949"),
    *("cp850", "koi8-r", "iso8859-2", "mac-roman"),
)
_USUAL = ("cp1252", "cp1250", "cp1254")  # the first one that reads the bytes alike is named
_CLEARLY = 1.5  # times as likely as cp1252 must another encoding be
_WORDS = re.compile(rb"[\x40-\xff]+")


def find_encoding(path: str, encoding: str = "auto") -> str:
    """The codec to read a file with.

    `auto` takes the byte-order mark, else UTF-8. Nothing is guessed: what is not UTF-8 shows up
    later as bad lines, with a suggestion that the user must confirm.

    Args:
        path: The file.
        encoding: `auto` or a codec's name.

    Raises:
        DataError: `UNKNOWN_ENCODING`, or `UNDECODABLE_BYTES` for UTF-16 without a mark.
    """
    with open(path, "rb") as file:
        head = file.read(SAMPLE_BYTES)
    if encoding != "auto":
        name = _codec_name(encoding)
        marked = name == "utf-8" and head.startswith(codecs.BOM_UTF8)
        return "utf-8-sig" if marked else name
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    wide = _unmarked_utf16(head)
    if wide:
        raise fatal(
            "UNDECODABLE_BYTES",
            f"The letters of the file are not written as UTF-8, but probably as {wide}.",
            where=place(path, 1),
            settings={"encoding": wide},
        )
    return "utf-8"


def open_text(file: BinaryIO, encoding: str) -> TextIO:
    """A text file over an open binary one; undecodable bytes become lone surrogates (PEP 383).

    Line ends are kept as they are; UTF-16 and UTF-32, whose errors can't be carried that way,
    raise `UnicodeDecodeError` while reading.
    """
    wide = encoding.startswith(("utf-16", "utf-32"))
    errors = "strict" if wide else "surrogateescape"
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")


def read_lines(file: TextIO, path: str) -> Iterator[str]:
    """Physical lines with their line ends, each of bounded length.

    Raises:
        DataError: `LINE_TOO_LONG` or `UNDECODABLE_BYTES`, with the line's number.
    """
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(LINE_LIMIT)
        except UnicodeDecodeError as error:
            raise fatal(
                "UNDECODABLE_BYTES",
                f"A letter near line {number} was not written as {error.encoding.upper()}, so it "
                f"can't be read ({error.reason}).",
                where=place(path, number),
            ) from error
        if not line:
            return
        if len(line) >= LINE_LIMIT and not line.endswith(("\n", "\r")):
            raise fatal(
                "LINE_TOO_LONG",
                f"Line {number} is longer than {LINE_LIMIT:,} letters.",
                where=place(path, number),
            )
        yield line


class BadBytes(NamedTuple):
    """Why a file has undecodable lines: a finding's code, what is wrong, what may mend it."""

    code: str
    what: str
    settings: dict[str, str]


def explain_bad_bytes(path: str, encoding: str) -> BadBytes:
    """What is wrong with a file that has undecodable lines, from a second pass over its bytes.

    Args:
        path: The file.
        encoding: The codec that failed.
    """
    offset = bad_line = first_bad = good_lines = 0
    sample = b""
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), b""), start=1):
            if not line.isascii():
                start = _first_bad_byte(line, encoding)
                if start is None:
                    good_lines += 1
                elif not bad_line:
                    bad_line, first_bad = number, offset + start
                if start is not None and len(sample) < SAMPLE_BYTES:
                    sample += line
            offset += len(line)
    name = encoding.removesuffix("-sig").upper()
    fact = (
        f"Line {bad_line} has a letter that was not written as {name}, so it can't be read "
        f"(byte {first_bad} of the file)."
    )
    if good_lines:
        lines = "1 other line" if good_lines == 1 else f"{good_lines} other lines"
        what = f"{fact} In {lines} such letters are {name}: two encodings were mixed in one file."
        return BadBytes("MIXED_ENCODINGS", what, {})
    likely = guess_encoding(sample)
    if not likely:
        return BadBytes("UNDECODABLE_BYTES", fact, {})
    what = f"{fact} The file was probably saved as {likely}."
    return BadBytes("UNDECODABLE_BYTES", what, settings={"encoding": likely})


def guess_encoding(sample: bytes) -> str:
    """A likely codec for bytes that are not UTF-8, or an empty string; only ever a suggestion.

    Each word counts once, since a letter that the rows repeat is no stronger evidence. Where the
    evidence is thin it is cp1252, by far the most common.

    Args:
        sample: Lines with letters that are not ASCII.
    """
    import chardet

    words = b" ".join(dict.fromkeys(_WORDS.findall(sample)))
    found = chardet.detect_all(
        words, ignore_threshold=True, compat_names=False, include_encodings=_WRITTEN
    )
    likely = {one["encoding"]: one["confidence"] for one in found if one["encoding"]}
    if not likely:
        return ""
    best = max(likely, key=lambda name: likely[name])
    if likely.get("cp1252", 0) * _CLEARLY >= likely[best]:
        return "cp1252"
    text = _decoded(sample, best)
    return next((name for name in _USUAL if _decoded(sample, name) == text), best)


def _decoded(sample: bytes, encoding: str) -> str | None:
    try:
        return sample.decode(encoding)
    except UnicodeDecodeError:
        return None


def known_binary(path: str) -> str:
    """What a file is by its first bytes, if it is no text; else an empty string."""
    with Path(path).open("rb") as file:
        head = file.read(8)
    kinds = {
        b"PK\x03\x04": "a ZIP archive or an Excel file (.xlsx)",
        b"PAR1": "a Parquet file",
        b"\x1f\x8b": "a gzip archive",
        b"\xd0\xcf\x11\xe0": "an old Excel file (.xls) or a protected one",
        b"SQLite f": "an SQLite database",
        b"%PDF": "a PDF",
        b"ARROW1": "an Arrow file",
    }
    return next((kind for magic, kind in kinds.items() if head.startswith(magic)), "")


def _codec_name(encoding: str) -> str:
    try:
        codec = codecs.lookup(encoding)
    except (LookupError, ValueError):
        codec = None
    if codec is None or not getattr(codec, "_is_text_encoding", True):
        raise fatal("UNKNOWN_ENCODING", f"There is no text encoding {encoding!r}.")
    return codec.name


def _first_bad_byte(line: bytes, encoding: str) -> int | None:
    try:
        line.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _unmarked_utf16(head: bytes) -> str:
    """UTF-16 shows as zeros at every other byte; stray NUL bytes don't."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    many = max(even, odd) > 0.2 * (len(head) // 2) and len(head) >= 4
    if not many or min(even, odd) * 4 > max(even, odd):
        return ""
    return "utf-16-be" if even > odd else "utf-16-le"

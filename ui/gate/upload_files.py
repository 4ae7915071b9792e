"""The files behind uploads. Everything here blocks, so the uploads call it in threads.

A file's name and place are made here: `uploads/<id>/part` while it grows, and then
`datasets/<id>/data.csv` or `models/<id>/model.gguf`. Nobody else on the machine can read them.
"""

from __future__ import annotations

import codecs
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from gemma_keras_tune import durable

from .answers import Refused
from .names import suffix_of

DATA_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
MODEL_SUFFIXES = {".gguf": "gguf", ".safetensors": "safetensors"}
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_SAVE = " Save the sheet as CSV (UTF-8)."
_SUFFIXES = {"dataset": DATA_SUFFIXES, "model": MODEL_SUFFIXES}
_PLACES = {"dataset": ("datasets", "data"), "model": ("models", "model")}

_HEAD = 64 * 1024
_GGUF_VERSIONS = (2, 3)
_LONGEST_SAFETENSORS_HEADER = 100_000_000  # as in the format's own reader
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_TEXT_CONTROLS = frozenset(b"\t\n\r\f")
_NOT_TEXT = {
    b"PK\x03\x04": "a ZIP file, such as .xlsx. Save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Office file, such as .xls. Save the sheet as CSV (UTF-8)",
    b"PAR1": "a Parquet file. Write it as JSONL",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip file. Unpack it first",
    b"GGUF": "a GGUF model. Upload it as a model",
}


def suffix_for(purpose: str, name: str) -> str:
    """The suffix that a file will get, from the name that a person gave it.

    Args:
        purpose: `dataset` or `model`.
        name: As shown.

    Raises:
        Refused: `UPLOAD_TYPE` (415) if files of this name aren't taken.
    """
    allowed = _SUFFIXES[purpose]
    suffix = suffix_of(name)
    if suffix not in allowed:
        way_out = _SAVE if purpose == "dataset" and suffix in _SHEETS else ""
        raise Refused(
            415,
            "UPLOAD_TYPE",
            f"{suffix or 'A name without a suffix'} isn't taken for a {purpose}; "
            f"{', '.join(allowed)} are.{way_out}",
        )
    return allowed[suffix]


def part_path(root: Path, upload_id: str) -> Path:
    """Where a file grows."""
    return root / "uploads" / upload_id / "part"


def final_path(root: Path, purpose: str, upload_id: str, suffix: str) -> Path:
    """Where a whole file lies."""
    folder, stem = _PLACES[purpose]
    return root / folder / upload_id / f"{stem}.{suffix}"


def make_part(root: Path, upload_id: str) -> None:
    """Makes the empty file, in folders that only this user can enter.

    Raises:
        OSError: If it can't be made, or is there already.
    """
    path = part_path(root, upload_id)
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    durable.fsync_folder(path.parent)
    durable.fsync_folder(path.parent.parent)


class Part:
    """A file that grows, opened to add to it.

    What stands behind `offset` was written but never acknowledged: it is written over, and what
    is left of it cut off by `close`.

    Args:
        path: The file.
        offset: How many bytes it durably holds.

    Raises:
        FileNotFoundError: If the file has gone.
        EOFError: If it is shorter than that.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.end = offset
        try:
            if os.fstat(self._handle).st_size < offset:
                raise EOFError(str(path))
            os.lseek(self._handle, offset, os.SEEK_SET)
        except BaseException:
            os.close(self._handle)
            raise

    def add(self, data: bytes) -> None:
        """Appends `data`.

        Raises:
            OSError: If it can't be written; a part may have been.
        """
        durable.write_all(self._handle, data)
        self.end += len(data)

    def close(self) -> None:
        """Cuts off what wasn't added whole, flushes the file to the disk and closes it.

        Raises:
            OSError: If the flush fails; then nothing new may be counted as kept.
        """
        try:
            os.ftruncate(self._handle, self.end)
            os.fsync(self._handle)
        finally:
            os.close(self._handle)


def check_content(path: Path, suffix: str, *, size: int) -> None:
    """Looks into a whole file: is it what its name says?

    Raises:
        Refused: `UPLOAD_TYPE` (415).
        EOFError: If it hasn't the size that was counted.
        OSError: If it can't be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if os.fstat(file.fileno()).st_size != size:
            raise EOFError(str(path))
    if suffix == "gguf":
        version = int.from_bytes(head[4:8], "little")
        if head[:4] != b"GGUF" or version not in _GGUF_VERSIONS:
            raise _not_what_it_says("GGUF of version 2 or 3", head)
    elif suffix == "safetensors":
        length = int.from_bytes(head[:8], "little")
        fits = 2 <= length <= min(size - 8, _LONGEST_SAFETENSORS_HEADER)
        if not fits or head[8:9] != b"{":
            raise _not_what_it_says("safetensors", head)
    else:
        _check_text(head, suffix)


def remove(root: Path, upload_id: str) -> None:
    """Removes what an upload has left; fine if there is nothing."""
    folder = part_path(root, upload_id).parent
    if folder.is_dir():
        durable.remove_tree(folder, trash=root / "uploads" / ".trash")


def remove_all(root: Path, upload_id: str) -> None:
    """Removes an upload that came to nothing, also from where it would have been kept."""
    remove(root, upload_id)
    for place, _ in _PLACES.values():
        folder = root / place / upload_id
        if folder.is_dir():
            durable.remove_tree(folder, trash=root / "uploads" / ".trash")


def orphans(root: Path, known: Collection[str], *, before: float) -> list[str]:
    """Ids of folders that belong to no open upload, and were last changed before a time.

    Args:
        root: The data root.
        known: Ids of open uploads.
        before: Seconds since 1970.
    """
    folder = root / "uploads"
    if not folder.is_dir():
        return []
    shutil.rmtree(folder / ".trash", ignore_errors=True)
    found = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    return [
        entry.name
        for entry in found
        if entry.name not in known and entry.stat(follow_symlinks=False).st_mtime < before
    ]


def move(root: Path, upload_id: str, target: Path) -> None:
    """Gives a whole file its final place, durably; fine if it is there already.

    Raises:
        OSError: If it can't be moved.
    """
    if not target.exists():
        target.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        durable.rename(part_path(root, upload_id), target)
        durable.fsync_folder(target.parent.parent)
    remove(root, upload_id)


def _check_text(head: bytes, suffix: str) -> None:
    for mark, what in _NOT_TEXT.items():
        if head.startswith(mark):
            raise Refused(415, "UPLOAD_TYPE", f"The file is no text: it is {what}.")
    if head.startswith(_WIDE_MARKS):
        return  # the reader of data sets takes UTF-16 and UTF-32 by their mark
    controls = {byte for byte in head if byte < 32} - _TEXT_CONTROLS
    if controls:
        raise _not_what_it_says("text", head)
    first = head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if suffix == "jsonl" and first not in (b"{", b"[", b""):
        raise _not_what_it_says("JSON lines, each beginning with {", head)


def _not_what_it_says(expected: str, head: bytes) -> Refused:
    return Refused(
        415,
        "UPLOAD_TYPE",
        f"By its name the file should be {expected}, but it begins with {head[:8]!r}. Nothing was "
        "kept. Convert the file rather than renaming it.",
    )

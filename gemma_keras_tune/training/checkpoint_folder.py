"""How a checkpoint becomes durable: whole and listed, or as if it had never been begun.

Nothing here knows what is in a checkpoint. A caller writes files into a temporary folder, and then:

1. `manifest.json` gets the size and SHA-256 of each file; all of it is flushed to the disk,
2. the folder is renamed to its name, `<step>-<attempt>`,
3. `index.json`, the one record of what is committed, is replaced, if the run is still ours,
4. what the new index no longer names is renamed into `.trash` and deleted.

A kill between any two of these leaves the checkpoints of the index whole. What is used is verified
against its manifest first, because the array library reads a flipped byte without complaint.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..durable import (
    FULL_DISK,
    atomic_write_json,
    fsync_tree,
    remove_tree,
    rename,
    sha256_file,
)
from ..errors import CheckpointError
from .checkpoint_index import Entry, Index, folder_order, parse_index, to_json, with_entry
from .checkpoint_manifest import MANIFEST, check_folder, make_manifest

INDEX = "index.json"
SPARE_BYTES = 64 * 2**20  # what a save must leave free, beside the space it takes
SPACE_FACTOR = 1.5  # of the arrays' size; the files are about as large as the arrays

_TRASH = ".trash"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a checkpoint's manifest says, verified.

    Attributes:
        entry: Its line in the index.
        path: Its folder.
        manifest: The manifest, with `meta` and whatever else the writer put there.
    """

    entry: Entry
    path: Path
    manifest: Mapping[str, Any]


def _always() -> bool:
    return True


class CheckpointFolder:
    """The committed checkpoints of one run.

    Args:
        directory: The run's `checkpoints` folder.
        attempt: This writer's attempt number; None for a reader, which changes nothing on the disk.
        keep: How many of the newest whole checkpoints stay; the best stays too.
        still_mine: Asked right before each change of the index; see `writing.Writer`.
        spare_bytes: Free space that a save must leave.

    Raises:
        CheckpointError: `CKPT_UNUSABLE_FOLDER` if a writer can't make or clean the folder;
            `CKPT_FENCED` if the run is no longer its own.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        attempt: int | None = None,
        keep: int = 2,
        still_mine: Callable[[], bool] = _always,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self.directory = Path(directory).absolute()
        self.attempt = attempt
        self.keep = keep
        self._still_mine = still_mine
        self._spare_bytes = spare_bytes
        self._found_bad: dict[str, str] = {}  # by a reader, which can't write it into the index
        self._abandoned: list[Path] = []  # temporary folders of failed saves
        if attempt is not None:
            self._sweep()

    def index(self) -> Index:
        """What is committed now. A lost or damaged index is made anew from what verifies.

        Raises:
            CheckpointError: `CKPT_UNUSABLE_FOLDER` if the folder can't be read.
        """
        try:
            index = parse_index((self.directory / INDEX).read_bytes())
        except FileNotFoundError:
            index = None
        except OSError as error:
            raise self._unusable(error) from error
        if index is None:
            index = self._rebuilt()
            if index.entries:
                self._try_to_write(index)
        return replace(
            index,
            entries=tuple(
                replace(entry, problem=entry.problem or self._found_bad.get(entry.name, ""))
                for entry in index.entries
            ),
        )

    def commit(
        self,
        step: int,
        write: Callable[[Path], None],
        *,
        manifest: Mapping[str, Any],
        size_bytes: int,
        best: bool = False,
    ) -> Content:
        """The checkpoint, durable and listed when this returns.

        Args:
            step: Optimizer steps that it holds.
            write: Writes its files into the empty folder that it is given.
            manifest: What goes into `manifest.json` beside the list of files.
            size_bytes: About how much `write` will write.
            best: Whether it is the best so far, which is kept for the end of the run.

        Raises:
            CheckpointError: `NEEDS_SPACE`, `CKPT_WRITE_FAILED` or `CKPT_FENCED`. The checkpoints
                of before are as they were.
        """
        if self.attempt is None:
            raise ValueError("this folder was opened for reading: give it an attempt number")
        name = self._unused_name(step)
        # Never the same twice: Orbax's threads may still be writing into that of a failed save.
        temporary = self.directory / f".tmp-{name}-{secrets.token_hex(4)}"
        try:
            self._check_mine()
            self._check_space(size_bytes)
            self._remove_abandoned()
            temporary.mkdir()
            write(temporary)
            saved_at = datetime.now(UTC).isoformat(timespec="seconds")
            head = {"step": step, "attempt": self.attempt, "best": best, "saved_at": saved_at}
            body = make_manifest(temporary, {**manifest, **head})
            atomic_write_json(temporary / MANIFEST, body)
            entry = self._entry(name, temporary, body)
            fsync_tree(temporary)
            rename(temporary, self.directory / name)
            dropped = self._list(entry, best=best)
        except OSError as error:
            self._withdraw(name, temporary)
            raise write_failed(error, self.directory) from error
        except BaseException:
            self._withdraw(name, temporary)
            raise
        self._delete(dropped)
        return Content(entry=entry, path=self.directory / name, manifest=body)

    def newest(self) -> Content | None:
        """The newest whole checkpoint, verified; None if there has never been one.

        A damaged one is marked in the index, and the one before it is used.

        Raises:
            CheckpointError: `CKPT_ALL_CORRUPT` if there are some, but none is whole.
        """
        while True:
            index = self.index()
            if not index.entries:
                return None
            whole = index.whole
            if not whole:
                raise CheckpointError(self._all_corrupt(index), code="CKPT_ALL_CORRUPT")
            content = self._verified(whole[-1])
            if content is not None:
                return content

    def best(self) -> Content | None:
        """The checkpoint that was marked as the best, verified; None if none was.

        Raises:
            CheckpointError: `CKPT_BEST_CORRUPT` if it is damaged: another would not be the best.
        """
        while True:
            index = self.index()
            entry = index.best_entry
            if entry is None:
                return None
            if entry.problem:
                raise CheckpointError(
                    f"The best checkpoint, {self.directory / entry.name} (step {entry.step}), is "
                    f"damaged: {entry.problem}. Resume the run from its newest checkpoint, or "
                    "restore this folder from a backup.",
                    code="CKPT_BEST_CORRUPT",
                )
            content = self._verified(entry)
            if content is not None:
                return content

    # -- writing ---------------------------------------------------------------------------------

    def _check_mine(self) -> None:
        if not self._still_mine():
            raise CheckpointError(
                f"Attempt {self.attempt} no longer owns {self.directory}: the run was started "
                "again elsewhere. Nothing was saved here; follow the newer attempt.",
                code="CKPT_FENCED",
            )

    def _check_space(self, size_bytes: int) -> None:
        needed = int(size_bytes * SPACE_FACTOR) + self._spare_bytes
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise CheckpointError(
                f"Not enough space for a checkpoint in {self.directory}: {_mb(free)} are free, "
                f"{_mb(needed)} are needed. The checkpoints of before are intact. "
                "Free some space, then resume the run.",
                code="NEEDS_SPACE",
            )

    def _unused_name(self, step: int) -> str:
        """`<step>-<attempt>`, with a third number where a step is saved more than once."""
        name, again = f"{step}-{self.attempt}", 1
        while (self.directory / name).exists():
            again += 1
            name = f"{step}-{self.attempt}-{again}"
        return name

    def _entry(self, name: str, folder: Path, manifest: Mapping[str, Any]) -> Entry:
        return Entry(
            name=name,
            step=manifest["step"],
            attempt=manifest["attempt"],
            size_bytes=sum(file["size_bytes"] for file in manifest["files"].values()),
            manifest_sha256=sha256_file(folder / MANIFEST),
        )

    def _list(self, entry: Entry, *, best: bool) -> tuple[Entry, ...]:
        """Commits `entry`: from here on it counts. Returns what the index no longer names."""
        before = self.index()
        after = with_entry(before, entry, keep=self.keep, best=best)
        self._check_mine()
        self._write_index(after)
        names = {kept.name for kept in after.entries}
        return tuple(old for old in before.entries if old.name not in names)

    def _write_index(self, index: Index) -> None:
        atomic_write_json(self.directory / INDEX, to_json(index))

    def _withdraw(self, name: str, temporary: Path) -> None:
        """Removes what a failed save wrote, but nothing that the index on the disk names."""
        self._abandoned.append(temporary)
        self._remove_abandoned()
        try:
            index = parse_index((self.directory / INDEX).read_bytes())
        except FileNotFoundError:
            index = Index()
        except OSError:
            return  # it can't be told what is listed
        if index is not None and name not in {entry.name for entry in index.entries}:
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        """Removes our own failed tries; threads that still write may have made them again."""
        for folder in self._abandoned:
            shutil.rmtree(folder, ignore_errors=True)

    def _delete(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            with suppress(OSError):  # it is out of the index; the next sweep tries again
                remove_tree(self.directory / entry.name, trash=self.directory / _TRASH)

    def _sweep(self) -> None:
        """Removes what a killed writer left: temporary folders, trash, folders never listed."""
        self._check_mine()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            listed = {entry.name for entry in self.index().entries}  # before anything is deleted
            for path in sorted(self.directory.iterdir()):
                if path.name.startswith(f".{INDEX}."):
                    path.unlink()
                elif path.name.startswith(".tmp-") or path.name == _TRASH:
                    shutil.rmtree(path, ignore_errors=True)
                elif folder_order(path.name) and path.name not in listed:
                    remove_tree(path, trash=self.directory / _TRASH)
            shutil.rmtree(self.directory / _TRASH, ignore_errors=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"The folder {self.directory} can't be used: {error.strerror or error}. "
            "Check its permissions and the free space.",
            code="NEEDS_SPACE" if error.errno in FULL_DISK else "CKPT_UNUSABLE_FOLDER",
        )

    # -- reading ---------------------------------------------------------------------------------

    def _verified(self, entry: Entry) -> Content | None:
        """The checkpoint, or None after its damage has been recorded."""
        manifest, problem = check_folder(self.directory / entry.name, entry.manifest_sha256)
        if not problem:
            return Content(entry=entry, path=self.directory / entry.name, manifest=manifest)
        index = self.index()  # read again: a writer may have rotated it away meanwhile
        bad = (replace(old, problem=problem) if old == entry else old for old in index.entries)
        if not self._try_to_write(replace(index, entries=tuple(bad))):
            self._found_bad[entry.name] = problem
        return None

    def _try_to_write(self, index: Index) -> bool:
        """Writes what was found out, if this is the writer; a full disk must not stop a reader."""
        if self.attempt is not None and self._still_mine():
            with suppress(OSError):
                self._write_index(index)
                return True
        return False

    def _rebuilt(self) -> Index:
        """The index as the folders themselves tell it: each was flushed before it got its name."""
        if not self.directory.is_dir():
            return Index()
        found = ((folder_order(path.name), path.name) for path in self.directory.iterdir())
        entries: list[Entry] = []
        best: str | None = None
        for order, name in sorted((order, name) for order, name in found if order):
            attempt, step, _ = order
            manifest, problem = check_folder(self.directory / name, None)
            if problem:
                entries.append(Entry(name=name, step=step, attempt=attempt, problem=problem))
                continue
            entries.append(self._entry(name, self.directory / name, manifest))
            best = name if manifest["best"] else best
        return Index(entries=tuple(entries), best=best)

    def _all_corrupt(self, index: Index) -> str:
        lines = "\n".join(f"  {entry.name}: {entry.problem}" for entry in index.entries)
        return (
            f"No checkpoint in {self.directory} is whole:\n{lines}\n"
            "Restore this folder from a backup, or start the run again in a new folder."
        )


def write_failed(error: Exception, directory: Path) -> CheckpointError:
    """The error for a person, made from what the system or the array library raised."""
    says = str(error)
    is_full = isinstance(error, OSError) and error.errno in FULL_DISK
    if is_full or any(os.strerror(number) in says for number in FULL_DISK):
        return CheckpointError(
            f"The disk filled up while a checkpoint was written in {directory}. The checkpoints "
            "of before are intact. Free some space, then resume the run.",
            code="NEEDS_SPACE",
        )
    return CheckpointError(
        f"A checkpoint could not be written in {directory}: {says[:500]}. The checkpoints of "
        "before are intact. Check the disk, then resume the run.",
        code="CKPT_WRITE_FAILED",
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"

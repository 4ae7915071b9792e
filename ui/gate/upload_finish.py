"""What becomes of an upload that is all there: checked, moved to its place, made a data set."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from gemma_keras_tune import durable

from ..identity.access import Principal
from ..identity.clock import Clock
from ..identity.refusals import not_found
from ..store.engine import Store
from . import upload_files as files
from . import upload_rows as rows
from .answers import Refused
from .upload_rows import Upload

REJECTED = ("UPLOAD_TYPE", "UPLOAD_HASH")
"""Codes of refusals after which nothing of the upload is kept."""


@dataclass(frozen=True)
class Finished:
    """What a finished upload has become.

    Attributes:
        id: The data set's or the model's id; of an older data set if that has the same bytes.
        purpose: `dataset` or `model`.
        size: Bytes.
        sha256: Of all bytes.
        is_duplicate: Whether the workspace had the same file already, so that this one was dropped.
    """

    id: str
    purpose: str
    size: int
    sha256: str
    is_duplicate: bool


class Finisher:
    """Makes data sets and models of uploads.

    Args:
        store: The database.
        root: The data root.
        clock: The wall clock.
    """

    def __init__(self, store: Store, root: Path, clock: Clock) -> None:
        self._store, self._root, self._clock = store, root, clock

    async def finish(self, principal: Principal, upload: Upload, *, sha256: str | None) -> Finished:
        """Checks the file and keeps it; after a kill in the middle it can be called again.

        Args:
            principal: Who uploads.
            upload: An open one, of which all bytes are there.
            sha256: Of all bytes, if it was counted while they came; else the file is read.

        Raises:
            Refused: `UPLOAD_TYPE`, `UPLOAD_HASH`, `UPLOAD_LOST`.
        """
        suffix = files.suffix_for(upload.purpose, upload.display_name)
        target = files.final_path(self._root, upload.purpose, upload.id, suffix)
        sha256 = await self._checked(upload, target, suffix, sha256)
        twin = await self._twin(principal, upload, sha256)
        if twin is not None:
            await asyncio.to_thread(files.remove, self._root, upload.id)
        else:
            await asyncio.to_thread(files.move, self._root, upload.id, target)
        async with self._store.begin() as connection:
            now = self._clock()
            await rows.note(connection, upload.id, now=now, state="done", sha256=sha256)
            if twin is None and upload.purpose == "dataset":
                await rows.add_dataset(connection, principal, upload, sha256, now=now)
        return Finished(
            twin or upload.id, upload.purpose, upload.size, sha256, is_duplicate=twin is not None
        )

    async def again(self, principal: Principal, upload: Upload) -> Finished:
        """What an upload that is done has become.

        Raises:
            NotFound: If its data set was deleted since.
        """
        sha256, found = upload.sha256 or "", upload.id
        if upload.purpose == "dataset":
            twin = await self._twin(principal, upload, sha256)
            if twin is None:
                raise not_found("The data set of this upload")
            found = twin
        return Finished(found, upload.purpose, upload.size, sha256, is_duplicate=found != upload.id)

    async def _checked(self, upload: Upload, target: Path, suffix: str, known: str | None) -> str:
        path = files.part_path(self._root, upload.id)
        try:
            path = path if await asyncio.to_thread(path.exists) else target
            if known is None:
                known = await asyncio.to_thread(durable.sha256_file, path)
            await asyncio.to_thread(files.check_content, path, suffix, size=upload.size)
        except (FileNotFoundError, EOFError) as error:
            raise lost() from error
        if upload.sha256 is not None and known != upload.sha256:
            raise Refused(
                422,
                "UPLOAD_HASH",
                f"The bytes that came have the SHA-256 {known}, declared was {upload.sha256}. "
                "Nothing was kept; upload the file again.",
            )
        return known

    async def _twin(self, principal: Principal, upload: Upload, sha256: str) -> str | None:
        """An older data set with the same bytes."""
        if upload.purpose != "dataset":
            return None
        async with self._store.begin() as connection:
            return await rows.twin(connection, principal, upload, sha256)


def dataset_path(root: Path, dataset_id: str, file_name: str) -> Path:
    """Where a data set's file lies."""
    return files.final_path(root, "dataset", dataset_id, files.suffix_for("dataset", file_name))


def lost() -> Refused:
    """What to say when the bytes have gone."""
    return Refused(410, "UPLOAD_LOST", "What was uploaded has gone from the disk. Upload it again.")

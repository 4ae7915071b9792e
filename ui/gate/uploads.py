"""Uploads: streamed, in pieces, resumable; every byte is counted here, whatever was declared.

An upload is created with its size, grows by pieces of at most 8 MiB at the offset that the server
names, and is finished once all is there. A piece counts when it is on the disk and in the database,
in this order, so that a kill at any moment loses at most the piece under way.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from ..identity.access import Action, Principal, authorize
from ..identity.clock import Clock, utc_now
from ..store.engine import Store
from . import upload_files as files
from . import upload_quota as quota
from . import upload_rows as rows
from .answers import Refused
from .names import display_name
from .upload_finish import REJECTED, Finished, Finisher, lost
from .upload_quota import UploadLimits
from .upload_rows import Upload
from .upload_stream import Sink, stream, to_the_end

Purpose = Literal["dataset", "model"]

_ACTIONS = {"dataset": Action.UPLOAD_DATA, "model": Action.UPLOAD_MODEL}


class Uploads:
    """All uploads of a server.

    Args:
        store: The database.
        root: The data root.
        limits: How much may be uploaded, and how slowly.
        clock: The wall clock.
    """

    def __init__(
        self,
        store: Store,
        root: Path,
        *,
        limits: UploadLimits | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._root = root
        self.limits = limits or UploadLimits()
        self._clock = clock
        self._finisher = Finisher(store, root, clock)
        self._busy: set[str] = set()
        self._hashes: dict[str, tuple[int, Any]] = {}  # bytes hashed so far; lost by a restart

    async def create(
        self,
        principal: Principal,
        *,
        purpose: Purpose,
        name: str,
        size: int,
        sha256: str | None = None,
    ) -> Upload:
        """A new upload that waits for its first piece.

        Args:
            principal: Who uploads.
            purpose: What for.
            name: The file's name, to show.
            size: Bytes.
            sha256: Of all bytes, if the sender knows it; then it must come out.

        Raises:
            Refusal: `UPLOAD_TYPE`, `UPLOAD_SIZE`, `UPLOAD_QUOTA`, `UPLOAD_COUNT`, `UPLOAD_NO_ROOM`,
                or that this person may not upload.
        """
        authorize(principal, _ACTIONS[purpose], principal.workspace_id)
        shown = display_name(name)
        files.suffix_for(purpose, shown)
        quota.check_size(size, self.limits)
        upload = Upload(secrets.token_hex(16), purpose, shown, size, 0, "open", sha256)
        free = await asyncio.to_thread(self._free_bytes)
        async with self._store.begin() as connection:
            await quota.check_room(connection, principal, size, free=free, limits=self.limits)
            await rows.add(connection, principal, upload, now=self._clock())
        try:
            await asyncio.to_thread(files.make_part, self._root, upload.id)
        except OSError as error:
            await self._drop(upload.id)
            raise quota.disk_failed(error) from error
        return upload

    async def get(self, principal: Principal, upload_id: str) -> Upload:
        """One upload of this person.

        Raises:
            Refusal: `NOT_FOUND`, also for another person's.
        """
        async with self._store.begin() as connection:
            return await rows.read(connection, principal, upload_id)

    async def list_of(self, principal: Principal) -> list[Upload]:
        """The open uploads of this person, the oldest first, to go on with."""
        async with self._store.begin() as connection:
            return await rows.open_ones(connection, principal)

    async def receive(
        self,
        principal: Principal,
        upload_id: str,
        *,
        offset: int,
        length: int,
        body: AsyncIterator[bytes],
    ) -> int:
        """Takes one piece, and returns the offset of the next one.

        If the sender goes away in the middle, what came is kept.

        Args:
            principal: Who uploads.
            upload_id: Which upload.
            offset: Where the piece begins: `received`, as the server last said.
            length: Bytes of the piece, as declared.
            body: The bytes.

        Raises:
            Refusal: `UPLOAD_OFFSET`, `UPLOAD_CHUNK`, `UPLOAD_LIES`, `UPLOAD_BUSY`, `UPLOAD_CLOSED`,
                `UPLOAD_NO_ROOM`, `UPLOAD_SLOW`, `UPLOAD_LOST`, `NOT_FOUND`.
        """
        with self._alone(upload_id):
            upload = await self.get(principal, upload_id)
            _check_open(upload)
            self._check_piece(upload, offset, length)
            free = await asyncio.to_thread(self._free_bytes)
            quota.check_free(length, free=free, limits=self.limits)
            part = await self._open_part(upload)
            try:
                await self._stream(upload_id, part, body, most=length)
            finally:
                end = await self._close_part(upload_id, part)
                await self._record(upload_id, end)
            return end

    async def finish(self, principal: Principal, upload_id: str) -> Finished:
        """Checks a whole upload and makes it a data set or a model; again: the same answer.

        Raises:
            Refusal: `UPLOAD_INCOMPLETE`, `UPLOAD_HASH`, `UPLOAD_TYPE`, `UPLOAD_BUSY`,
                `UPLOAD_CLOSED`, `UPLOAD_LOST`, `NOT_FOUND`.
        """
        with self._alone(upload_id):
            upload = await self.get(principal, upload_id)
            authorize(principal, _ACTIONS[upload.purpose], principal.workspace_id)
            if upload.state == "done":
                return await self._finisher.again(principal, upload)
            _check_open(upload)
            if upload.received != upload.size:
                raise _at_offset(
                    409, "UPLOAD_INCOMPLETE", upload, "Not all is here yet; send the rest."
                )
            hashed, digest = self._hashes.pop(upload_id, (0, None))
            known = digest.hexdigest() if digest is not None and hashed == upload.size else None
            try:
                return await self._finisher.finish(principal, upload, sha256=known)
            except Refused as error:
                if error.code in REJECTED:
                    await self._drop(upload_id)
                raise

    async def abort(self, principal: Principal, upload_id: str) -> None:
        """Gives an upload up and removes what came of it; fine if it was aborted before.

        Raises:
            Refusal: `UPLOAD_BUSY`, `UPLOAD_CLOSED` if it is done, `NOT_FOUND`.
        """
        with self._alone(upload_id):
            upload = await self.get(principal, upload_id)
            if upload.state == "done":
                _check_open(upload)
            await self._drop(upload_id)

    async def collect(self) -> int:
        """Removes uploads that nobody went on with for a day; returns how many."""
        before = self._clock() - timedelta(seconds=self.limits.keep_s)
        async with self._store.begin() as connection:
            known = await rows.all_open(connection)
        forgotten = [one for one, touched in known.items() if touched < before]
        forgotten = [one for one in forgotten if one not in self._busy]
        for upload_id in forgotten:
            with self._alone(upload_id):
                await self._drop(upload_id)
        orphans = await asyncio.to_thread(
            files.orphans, self._root, set(known), before=before.timestamp()
        )
        for upload_id in orphans:
            await asyncio.to_thread(files.remove, self._root, upload_id)
        return len(forgotten) + len(orphans)

    @contextmanager
    def _alone(self, upload_id: str) -> Iterator[None]:
        if upload_id in self._busy:
            raise Refused(
                409,
                "UPLOAD_BUSY",
                "Another request works on this upload. Wait for it, ask for the offset, go on.",
                headers={"Retry-After": str(int(self.limits.idle_s))},
            )
        self._busy.add(upload_id)
        try:
            yield
        finally:
            self._busy.discard(upload_id)

    def _check_piece(self, upload: Upload, offset: int, length: int) -> None:
        if offset != upload.received:
            raise _at_offset(
                409, "UPLOAD_OFFSET", upload, f"The piece begins at {offset:,}; go on from there."
            )
        if not 0 < length <= self.limits.chunk_bytes:
            raise _at_offset(
                413, "UPLOAD_CHUNK", upload, f"A piece has 1 to {self.limits.chunk_bytes:,} bytes."
            )
        if offset + length > upload.size:
            raise _at_offset(
                413,
                "UPLOAD_LIES",
                upload,
                f"The upload was declared with {upload.size:,} bytes, and this piece would end at "
                f"{offset + length:,}. Create another one with the true size.",
            )

    async def _open_part(self, upload: Upload) -> files.Part:
        path = files.part_path(self._root, upload.id)
        try:
            return await asyncio.to_thread(files.Part, path, upload.received)
        except (FileNotFoundError, EOFError) as error:
            raise lost() from error

    async def _stream(
        self, upload_id: str, part: files.Part, body: AsyncIterator[bytes], *, most: int
    ) -> None:
        hashed, digest = self._hashes.pop(upload_id, (0, hashlib.sha256()))
        sink = Sink(part, digest if hashed == part.end else None)
        try:
            await stream(sink, body, most=most, seconds=self.limits.piece_s(most))
        except OSError as error:
            raise quota.disk_failed(error) from error
        finally:
            if sink.digest is not None:
                self._hashes[upload_id] = (part.end, sink.digest)

    async def _close_part(self, upload_id: str, part: files.Part) -> int:
        try:
            await to_the_end(part.close)
        except OSError as error:
            self._hashes.pop(upload_id, None)
            raise quota.disk_failed(error) from error
        return part.end

    async def _record(self, upload_id: str, received: int) -> None:
        async with self._store.begin() as connection:
            await rows.note(connection, upload_id, now=self._clock(), received=received)

    async def _drop(self, upload_id: str) -> None:
        self._hashes.pop(upload_id, None)
        async with self._store.begin() as connection:
            await rows.note(connection, upload_id, now=self._clock(), state="aborted")
        await asyncio.to_thread(files.remove_all, self._root, upload_id)

    def _free_bytes(self) -> int:
        self._root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._root).free


def _check_open(upload: Upload) -> None:
    if upload.state != "open":
        raise Refused(
            409, "UPLOAD_CLOSED", f"This upload is {upload.state}. Create another one to go on."
        )


def _at_offset(status: int, code: str, upload: Upload, why: str) -> Refused:
    return Refused(
        status,
        code,
        f"{why} The server has {upload.received:,} of {upload.size:,} bytes.",
        headers={"Upload-Offset": str(upload.received)},
    )

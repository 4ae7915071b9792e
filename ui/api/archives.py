"""A folder as one file to download: a tar that is made while it is sent, without a copy on disk."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

_CHUNK = 1 << 20


def tar_size(sizes: Sequence[int]) -> int:
    """How large the archive of files of these sizes, with plain names, will be; in bytes."""
    padded = sum(
        tarfile.BLOCKSIZE + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for size in sizes
    )
    whole = padded + 2 * tarfile.BLOCKSIZE
    return -(-whole // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


async def tar_of(folder: Path, names: Sequence[str], *, top: str) -> AsyncIterator[bytes]:
    """The bytes of a tar of some files of a folder.

    Args:
        folder: Where they are.
        names: Relative to it, made by us.
        top: The folder that they are unpacked into.

    Raises:
        OSError: If a file can't be read, or has become shorter meanwhile.
    """
    sent = 0
    for name in names:
        with (folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = tarfile.TarInfo(f"{top}/{name}")
            head.size, head.mtime, head.mode = size, int(os.fstat(file.fileno()).st_mtime), 0o644
            block = head.tobuf(tarfile.GNU_FORMAT)
            yield block
            sent += len(block)
            left = size
            while left:
                data = await asyncio.to_thread(file.read, min(left, _CHUNK))
                if not data:
                    raise OSError(f"{name} became shorter while it was read")
                left -= len(data)
                sent += len(data)
                yield data
            rest = -size % tarfile.BLOCKSIZE
            yield bytes(rest)
            sent += rest
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(sent + end) % tarfile.RECORDSIZE)

"""A folder as one file to download."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from gemma_keras_tune_ui.api.archives import tar_of, tar_size


async def test_the_archive_unpacks_to_the_same_files_and_has_the_promised_size(
    tmp_path: Path,
) -> None:
    files = {"a.txt": b"", "deep/b.bin": bytes(range(256)) * 9000, "c": b"x" * 512}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    whole = b"".join([part async for part in tar_of(tmp_path, list(files), top="hf")])
    assert len(whole) == tar_size([len(data) for data in files.values()])
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        found = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        read = {name: file.read() for name, file in found.items() if file is not None}
    assert read == {f"hf/{name}": data for name, data in files.items()}


async def test_a_file_that_shrinks_meanwhile_breaks_the_download_off(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    parts = tar_of(tmp_path, ["big"], top="hf")
    await anext(parts)
    await anext(parts)
    with (tmp_path / "big").open("r+b") as file:
        file.truncate(1 << 20)
    with pytest.raises(OSError, match="shorter"):
        [part async for part in parts]

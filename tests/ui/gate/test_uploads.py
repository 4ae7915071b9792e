"""Uploads against both databases: counted here, resumed, checked, refused with what works."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from starlette.requests import ClientDisconnect

from gemma_keras_tune import durable
from gemma_keras_tune_ui.gate import uploads as module
from gemma_keras_tune_ui.gate.names import display_name
from gemma_keras_tune_ui.gate.upload_finish import Finished, dataset_path
from gemma_keras_tune_ui.gate.upload_quota import UploadLimits
from gemma_keras_tune_ui.gate.uploads import Upload, Uploads
from gemma_keras_tune_ui.identity.access import Role
from gemma_keras_tune_ui.identity.refusals import Refusal
from gemma_keras_tune_ui.store import tables
from gemma_keras_tune_ui.store.engine import Store
from tests.ui.gate.people import person

CSV = b"text,label\nhello,ham\nbuy now,spam\n"
ANN = person("ann")
SMALL = UploadLimits(
    file_bytes=1000, user_bytes=1500, user_files=3, reserve_bytes=0, chunk_bytes=100
)


async def pieces(*parts: bytes, end: BaseException | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if end is not None:
        raise end


async def send(uploads: Uploads, upload: Upload, data: bytes, *, size: int = 100) -> None:
    for start in range(0, len(data), size):
        part = data[start : start + size]
        await uploads.receive(ANN, upload.id, offset=start, length=len(part), body=pieces(part))


async def whole(
    uploads: Uploads, data: bytes = CSV, *, name: str = "mail.csv", purpose: Any = "dataset"
) -> Finished:
    upload = await uploads.create(ANN, purpose=purpose, name=name, size=len(data))
    await send(uploads, upload, data)
    return await uploads.finish(ANN, upload.id)


async def refused(awaitable: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def uploads(store: Store, root: Path) -> Uploads:
    return Uploads(store, root, limits=SMALL)


async def test_a_file_in_pieces_becomes_a_data_set_with_the_same_bytes(
    uploads: Uploads, root: Path, store: Store
) -> None:
    data = CSV + b"x,ham\n" * 100
    done = await whole(uploads, data)
    assert done.sha256 == hashlib.sha256(data).hexdigest()
    path = dataset_path(root, done.id, "mail.csv")
    assert path == root / "datasets" / done.id / "data.csv"
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not (root / "uploads" / done.id).exists()
    async with store.begin() as connection:
        row = (await connection.execute(select(tables.datasets))).one()
    assert (row.name, row.file_name, row.size, row.user_id) == (
        "mail",
        "mail.csv",
        len(data),
        "ann",
    )


async def test_finishing_twice_gives_the_same_answer(uploads: Uploads) -> None:
    done = await whole(uploads)
    assert await uploads.finish(ANN, done.id) == done


async def test_a_restart_between_pieces_loses_nothing(
    uploads: Uploads, store: Store, root: Path
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    await uploads.receive(ANN, upload.id, offset=0, length=10, body=pieces(CSV[:10]))
    again = Uploads(store, root, limits=SMALL)
    assert (await again.get(ANN, upload.id)).received == 10
    await again.receive(ANN, upload.id, offset=10, length=len(CSV) - 10, body=pieces(CSV[10:]))
    done = await again.finish(ANN, upload.id)
    assert done.sha256 == hashlib.sha256(CSV).hexdigest()


async def test_a_break_in_a_piece_keeps_what_came(uploads: Uploads) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    body = pieces(CSV[:5], CSV[5:12], end=ClientDisconnect())
    assert await uploads.receive(ANN, upload.id, offset=0, length=len(CSV), body=body) == 12
    rest = CSV[12:]
    await uploads.receive(ANN, upload.id, offset=12, length=len(rest), body=pieces(rest))
    done = await uploads.finish(ANN, upload.id)
    assert done.sha256 == hashlib.sha256(CSV).hexdigest()


async def test_bytes_written_but_never_acknowledged_are_cut_off(
    uploads: Uploads, root: Path
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    (root / "uploads" / upload.id / "part").write_bytes(b"leftover of a kill" * 10)
    await send(uploads, upload, CSV)
    done = await uploads.finish(ANN, upload.id)
    assert done.sha256 == hashlib.sha256(CSV).hexdigest()
    assert dataset_path(root, done.id, "a.csv").read_bytes() == CSV


async def test_a_piece_at_the_wrong_offset_is_told_the_right_one(uploads: Uploads) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    await uploads.receive(ANN, upload.id, offset=0, length=10, body=pieces(CSV[:10]))
    for offset in (0, 5, 11):
        error = await refused(
            uploads.receive(ANN, upload.id, offset=offset, length=5, body=pieces(b"xxxxx"))
        )
        assert (error.status, error.code) == (409, "UPLOAD_OFFSET")
        assert error.headers == {"Upload-Offset": "10"}


async def test_more_bytes_than_declared_are_never_written(uploads: Uploads, root: Path) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=10)
    error = await refused(
        uploads.receive(ANN, upload.id, offset=0, length=11, body=pieces(b"x" * 11))
    )
    assert (error.status, error.code) == (413, "UPLOAD_LIES")
    error = await refused(
        uploads.receive(ANN, upload.id, offset=0, length=5, body=pieces(b"xxx", b"yyy"))
    )
    assert error.code == "UPLOAD_LIES"
    assert (root / "uploads" / upload.id / "part").stat().st_size == 0


async def test_fewer_bytes_than_declared_cannot_be_finished(uploads: Uploads) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV) + 1)
    await send(uploads, upload, CSV)
    error = await refused(uploads.finish(ANN, upload.id))
    assert (error.status, error.code) == (409, "UPLOAD_INCOMPLETE")
    assert f"{len(CSV)} of {len(CSV) + 1} bytes" in str(error)


async def test_a_piece_that_is_too_large_or_empty_is_refused(uploads: Uploads) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=500)
    for length in (0, 101):
        error = await refused(
            uploads.receive(ANN, upload.id, offset=0, length=length, body=pieces(b""))
        )
        assert (error.status, error.code) == (413, "UPLOAD_CHUNK")


async def test_a_wrong_hash_keeps_nothing(uploads: Uploads, root: Path) -> None:
    upload = await uploads.create(
        ANN, purpose="dataset", name="a.csv", size=len(CSV), sha256="0" * 64
    )
    await send(uploads, upload, CSV)
    error = await refused(uploads.finish(ANN, upload.id))
    assert (error.status, error.code) == (422, "UPLOAD_HASH")
    assert (await uploads.get(ANN, upload.id)).state == "aborted"
    assert not (root / "uploads" / upload.id).exists()
    assert not (root / "datasets").exists()


GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


FITTING = (
    ("a.csv", CSV),
    ("A.TSV", b"a\tb\n"),
    ("a.csv", "text\nGrüße\n".encode("cp1252")),
    ("a.csv", "text\nhello\n".encode("utf-16")),
    ("a.jsonl", b'\xef\xbb\xbf{"a": 1}\n'),
    ("a.ndjson", b'\n {"a": 1}\n'),
    ("m.gguf", GGUF),
    ("m.safetensors", SAFETENSORS),
)
LYING = (
    ("a.csv", b"PK\x03\x04" + b"x" * 20),
    ("a.csv", GGUF),
    ("a.csv", b"text\nnul\x00byte\n"),
    ("a.csv", b"\x7fELF\x02\x01\x01"),
    ("a.csv", b"%PDF-1.7"),
    ("a.jsonl", b"text,label\n"),
    ("m.gguf", b"\x80\x04\x95pickle"),
    ("m.gguf", b"GGUF" + (9).to_bytes(4, "little")),
    ("m.safetensors", b"\x80\x04\x95pickle of a model"),
    ("m.safetensors", (2**40).to_bytes(8, "little") + b"{}"),
    ("m.safetensors", (2).to_bytes(8, "little") + b"[]"),
)


def purpose_of(name: str) -> Any:
    return "model" if name.startswith("m") else "dataset"


async def test_what_is_what_its_name_says_is_taken(store: Store, root: Path) -> None:
    uploads = Uploads(store, root, limits=replace(SMALL, user_files=100))
    for name, data in FITTING:
        done = await whole(uploads, data, name=name, purpose=purpose_of(name))
        assert done.size == len(data), name


async def test_what_is_not_what_its_name_says_is_refused_and_removed(
    uploads: Uploads, root: Path
) -> None:
    for name, data in LYING:
        upload = await uploads.create(ANN, purpose=purpose_of(name), name=name, size=len(data))
        await send(uploads, upload, data)
        error = await refused(uploads.finish(ANN, upload.id))
        assert (error.status, error.code) == (415, "UPLOAD_TYPE"), name
        assert not (root / "uploads" / upload.id).exists()


async def test_other_types_are_refused_before_a_byte_is_sent(uploads: Uploads) -> None:
    for name in ("a.xlsx", "a.pkl", "a.bin", "a.keras", "a.h5", "a.zip", "a", ".csv"):
        for purpose in ("dataset", "model"):
            call = uploads.create(ANN, purpose=purpose, name=name, size=10)
            error = await refused(call)
            assert (error.status, error.code) == (415, "UPLOAD_TYPE"), name


async def test_each_purpose_takes_its_own_types_and_names_them(uploads: Uploads) -> None:
    error = await refused(uploads.create(ANN, purpose="model", name="a.csv", size=10))
    assert ".gguf" in str(error)


async def test_a_spreadsheet_is_told_what_to_be_saved_as(uploads: Uploads) -> None:
    error = await refused(uploads.create(ANN, purpose="dataset", name="a.xlsx", size=10))
    assert "Save the sheet as CSV (UTF-8)." in str(error)
    error = await refused(uploads.create(ANN, purpose="model", name="a.xlsx", size=10))
    assert "CSV" not in str(error)


async def test_the_same_file_twice_is_one_data_set(uploads: Uploads, root: Path) -> None:
    first, second = await whole(uploads), await whole(uploads, name="other.csv")
    assert (first.is_duplicate, second.is_duplicate) == (False, True)
    assert second.id == first.id
    assert len(list((root / "datasets").iterdir())) == 1


async def test_quotas_of_file_person_and_count(uploads: Uploads) -> None:
    error = await refused(uploads.create(ANN, purpose="dataset", name="a.csv", size=1001))
    assert (error.status, error.code) == (413, "UPLOAD_SIZE")
    await uploads.create(ANN, purpose="dataset", name="a.csv", size=1000)
    error = await refused(uploads.create(ANN, purpose="dataset", name="a.csv", size=501))
    assert (error.status, error.code) == (413, "UPLOAD_QUOTA")
    await uploads.create(ANN, purpose="dataset", name="a.csv", size=100)
    await uploads.create(ANN, purpose="dataset", name="a.csv", size=100)
    error = await refused(uploads.create(ANN, purpose="dataset", name="a.csv", size=1))
    assert error.code == "UPLOAD_COUNT"
    await uploads.create(person("bob"), purpose="dataset", name="a.csv", size=1000)


async def test_finished_and_deleted_data_counts_as_it_should(
    uploads: Uploads, store: Store
) -> None:
    data = CSV + b"x" * 900
    done = await whole(uploads, data)
    assert (await refused(whole(uploads, data + b"y"))).code == "UPLOAD_QUOTA"
    async with store.begin() as connection:
        table = tables.datasets
        gone = update(table).where(table.c.id == done.id)
        await connection.execute(gone.values(deleted_at=datetime.now(UTC)))
    await whole(uploads, data + b"y")


async def test_a_row_of_the_workspace_limits_everybody_together(
    uploads: Uploads, store: Store
) -> None:
    row = {"id": "q", "workspace_id": "w1", "user_id": None, "disk_bytes": 700}
    async with store.begin() as connection:
        await connection.execute(insert(tables.quotas).values(row))
    await uploads.create(ANN, purpose="dataset", name="a.csv", size=400)
    error = await refused(uploads.create(person("bob"), purpose="dataset", name="a.csv", size=400))
    assert "This workspace" in str(error)


async def test_eight_at_once_cannot_pass_a_quota_that_fits_one(uploads: Uploads) -> None:
    calls = [uploads.create(ANN, purpose="dataset", name="a.csv", size=800) for _ in range(8)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, Upload) for result in results) == 1
    assert sum(isinstance(result, Refusal) for result in results) == 7


async def test_a_disk_without_room_takes_nothing(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=100)
    monkeypatch.setattr(Uploads, "_free_bytes", lambda self: 50)
    error = await refused(uploads.create(ANN, purpose="dataset", name="a.csv", size=60))
    assert (error.status, error.code) == (507, "UPLOAD_NO_ROOM")
    error = await refused(
        uploads.receive(ANN, upload.id, offset=0, length=60, body=pieces(b"x" * 60))
    )
    assert error.code == "UPLOAD_NO_ROOM"


async def test_a_disk_that_fills_up_in_a_piece_keeps_what_was_acknowledged(
    uploads: Uploads, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    await uploads.receive(ANN, upload.id, offset=0, length=10, body=pieces(CSV[:10]))

    def half(handle: int, data: Any) -> int:
        os.write(handle, bytes(data)[:3])
        raise OSError(errno.ENOSPC, "full")

    rest = CSV[10:]
    monkeypatch.setattr(durable, "_write", half)
    error = await refused(
        uploads.receive(ANN, upload.id, offset=10, length=len(rest), body=pieces(rest))
    )
    assert (error.status, error.code) == (507, "UPLOAD_NO_ROOM")
    monkeypatch.undo()
    assert (await uploads.get(ANN, upload.id)).received == 10
    assert (root / "uploads" / upload.id / "part").stat().st_size == 10
    await uploads.receive(ANN, upload.id, offset=10, length=len(rest), body=pieces(rest))
    assert (await uploads.finish(ANN, upload.id)).sha256 == hashlib.sha256(CSV).hexdigest()


async def test_a_flush_that_fails_acknowledges_nothing(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))

    def broken(handle: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    error = await refused(
        uploads.receive(ANN, upload.id, offset=0, length=len(CSV), body=pieces(CSV))
    )
    monkeypatch.undo()
    assert (error.status, error.code) == (500, "UPLOAD_DISK")
    assert (await uploads.get(ANN, upload.id)).received == 0


async def test_a_slow_sender_is_broken_off_and_can_go_on(store: Store, root: Path) -> None:
    limits = replace(SMALL, idle_s=0.05, slowest_bytes_per_s=10**6)
    uploads = Uploads(store, root, limits=limits)
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))

    async def drip() -> AsyncIterator[bytes]:
        for letter in CSV:
            yield bytes([letter])
            await asyncio.sleep(0.02)

    error = await refused(uploads.receive(ANN, upload.id, offset=0, length=len(CSV), body=drip()))
    assert (error.status, error.code) == (408, "UPLOAD_SLOW")
    received = (await uploads.get(ANN, upload.id)).received
    assert 0 < received < len(CSV)
    rest = CSV[received:]
    await uploads.receive(ANN, upload.id, offset=received, length=len(rest), body=pieces(rest))
    assert (await uploads.finish(ANN, upload.id)).sha256 == hashlib.sha256(CSV).hexdigest()


async def test_two_requests_for_one_upload_at_once_do_not_mix(uploads: Uploads) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    gate = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        await gate.wait()
        yield CSV

    first = asyncio.create_task(
        uploads.receive(ANN, upload.id, offset=0, length=len(CSV), body=waiting())
    )
    await asyncio.sleep(0.05)
    error = await refused(
        uploads.receive(ANN, upload.id, offset=0, length=len(CSV), body=pieces(CSV))
    )
    assert (error.status, error.code) == (409, "UPLOAD_BUSY")
    gate.set()
    assert await first == len(CSV)


async def test_five_uploads_at_once_do_not_mix(store: Store, root: Path) -> None:
    uploads = Uploads(store, root, limits=replace(SMALL, user_files=10, user_bytes=10**6))
    files = [CSV + f"row {number},ham\n".encode() * 20 for number in range(5)]
    done = await asyncio.gather(*(whole(uploads, data) for data in files))
    for data, finished in zip(files, done, strict=True):
        assert dataset_path(root, finished.id, "mail.csv").read_bytes() == data


async def test_a_cancelled_piece_leaves_the_file_fit_to_go_on(uploads: Uploads) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))

    async def stuck() -> AsyncIterator[bytes]:
        yield CSV[:10]
        await asyncio.sleep(10)

    task = asyncio.create_task(
        uploads.receive(ANN, upload.id, offset=0, length=len(CSV), body=stuck())
    )
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    received = (await uploads.get(ANN, upload.id)).received
    rest = CSV[received:]
    await uploads.receive(ANN, upload.id, offset=received, length=len(rest), body=pieces(rest))
    assert (await uploads.finish(ANN, upload.id)).sha256 == hashlib.sha256(CSV).hexdigest()


async def test_a_cancelled_write_ends_before_its_file_is_closed(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the thread would write into whatever gets the number of the closed file."""
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    begun = threading.Event()

    def slow(handle: int, data: Any) -> int:
        begun.set()
        time.sleep(0.3)
        return os.write(handle, data)

    monkeypatch.setattr(durable, "_write", slow)
    task = asyncio.create_task(
        uploads.receive(ANN, upload.id, offset=0, length=len(CSV), body=pieces(CSV))
    )
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await uploads.get(ANN, upload.id)).received == len(CSV)


async def test_nobody_else_sees_an_upload(uploads: Uploads) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=10)
    for other in (person("bob"), person("ann", workspace="w2")):
        for call in (
            uploads.get(other, upload.id),
            uploads.receive(other, upload.id, offset=0, length=1, body=pieces(b"x")),
            uploads.finish(other, upload.id),
            uploads.abort(other, upload.id),
        ):
            assert (await refused(call)).status == 404
        assert await uploads.list_of(other) == []
    assert await uploads.list_of(ANN) == [upload]


async def test_a_viewer_may_not_upload(uploads: Uploads) -> None:
    viewer = person("ann", role=Role.VIEWER)
    error = await refused(uploads.create(viewer, purpose="dataset", name="a.csv", size=10))
    assert error.status == 403


async def test_an_aborted_upload_is_gone_and_stays_closed(uploads: Uploads, root: Path) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=10)
    await uploads.abort(ANN, upload.id)
    await uploads.abort(ANN, upload.id)
    assert not (root / "uploads" / upload.id).exists()
    error = await refused(uploads.receive(ANN, upload.id, offset=0, length=1, body=pieces(b"x")))
    assert (error.status, error.code) == (409, "UPLOAD_CLOSED")


async def test_uploads_that_nobody_went_on_with_are_collected_after_a_day(
    store: Store, root: Path
) -> None:
    now = datetime.now(UTC)
    uploads = Uploads(store, root, limits=SMALL, clock=lambda: now)
    old = await uploads.create(ANN, purpose="dataset", name="a.csv", size=10)
    stray = root / "uploads" / "stray"
    stray.mkdir()
    os.utime(stray, (1, 1))
    now += timedelta(hours=23)
    new = await uploads.create(ANN, purpose="dataset", name="a.csv", size=10)
    now += timedelta(hours=2)
    assert await uploads.collect() == 2
    assert (await uploads.get(ANN, old.id)).state == "aborted"
    assert sorted(entry.name for entry in (root / "uploads").iterdir() if entry.name[0] != ".") == [
        new.id
    ]


async def test_a_kill_between_the_move_and_the_row_is_mended_by_finishing_again(
    uploads: Uploads, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    await send(uploads, upload, CSV)

    async def killed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.rows, "note", killed)
    with pytest.raises(KeyboardInterrupt):
        await uploads.finish(ANN, upload.id)
    monkeypatch.undo()
    again = Uploads(store, root, limits=SMALL)
    assert (await again.finish(ANN, upload.id)).sha256 == hashlib.sha256(CSV).hexdigest()
    assert dataset_path(root, upload.id, "a.csv").read_bytes() == CSV


async def test_a_file_that_vanished_from_the_disk_is_said_to_be_lost(
    uploads: Uploads, root: Path
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    await uploads.receive(ANN, upload.id, offset=0, length=10, body=pieces(CSV[:10]))
    (root / "uploads" / upload.id / "part").write_bytes(b"")
    error = await refused(
        uploads.receive(ANN, upload.id, offset=10, length=5, body=pieces(b"xxxxx"))
    )
    assert (error.status, error.code) == (410, "UPLOAD_LOST")


async def test_a_file_that_was_changed_on_the_disk_is_not_taken(
    uploads: Uploads, root: Path
) -> None:
    upload = await uploads.create(ANN, purpose="dataset", name="a.csv", size=len(CSV))
    await send(uploads, upload, CSV)
    (root / "uploads" / upload.id / "part").write_bytes(CSV + b"more")
    assert (await refused(uploads.finish(ANN, upload.id))).code == "UPLOAD_LOST"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("mail.csv", "mail.csv"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\a.csv", "a.csv"),
        ("a\x00b\n.csv", "ab.csv"),
        ("\u202egnp.csv", "gnp.csv"),
        ("  two   words .csv ", "two words .csv"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("CON", "CON"),
        ("x" * 300 + ".csv", "x" * 196 + ".csv"),
        ("Gru\u0308ße.csv", "Grüße.csv"),
    ],
)
def test_names_are_made_harmless_and_stay_readable(given: str, shown: str) -> None:
    assert display_name(given) == shown

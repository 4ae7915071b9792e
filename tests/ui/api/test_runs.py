"""Runs, their events and their files over the API."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from gemma_keras_tune.control_file import read_commands
from gemma_keras_tune.job_folder import JobFolder
from gemma_keras_tune.run_folder import RunFolder, open_for_writing
from gemma_keras_tune_ui.api import streams
from gemma_keras_tune_ui.api.artifacts import zip_of
from gemma_keras_tune_ui.store.tables import jobs
from tests.ui.api.world import World, write_events, write_run

pytestmark = pytest.mark.asyncio(loop_scope="module")


def events_of(text: str) -> list[dict]:
    """The numbered events of a stream; each is checked against its `id:`."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "id" in lines:
            found.append(json.loads(lines["data"]))
            assert found[-1]["seq"] == int(lines["id"])
    return found


def last_word(text: str) -> tuple[str, str]:
    *_, last, empty = text.split("\n\n")
    assert empty == ""
    lines = dict(line.split(": ", 1) for line in last.split("\n"))
    return lines["event"], json.loads(lines["data"])["reason"]


async def a_run(world: World) -> RunFolder:
    editor = world.people["editor"]
    return RunFolder(world.root / "runs" / await world.run(world.here, editor.user_id))


async def test_a_run_has_its_recipe_with_names_in_the_place_of_paths(world):
    run = await a_run(world)
    got = (await world.ask("viewer", "GET", f"/runs/{run.id}")).json()
    assert got["name"] == "made-up" and got["state"] == "done" and got["is_at_work"] is False
    assert got["recipe"]["data"]["path"] == "shipped:spam_train.csv"
    assert got["lineage"] == {"data": [], "recipe": None}


async def test_files_are_downloaded_with_names_in_the_place_of_paths(world):
    run = await a_run(world)
    table = json.loads(run.recipe_json.read_text())["data"]["path"]
    assert table.startswith("/"), "the run itself keeps the path"
    answered = [{"row": 2, "file": table, "prompt": "a\u2028b\r"}, {"row": 3, "file": "x.csv"}]
    run.predictions.write_text("\n".join(json.dumps(one) for one in answered) + "\n")
    recipe = await world.ask("viewer", "GET", f"/runs/{run.id}/files/recipe.json")
    assert recipe.json()["data"]["path"] == "shipped:spam_train.csv"
    assert recipe.headers["content-disposition"] == "attachment; filename*=UTF-8''recipe.json"
    lines = (await world.ask("viewer", "GET", f"/runs/{run.id}/files/predictions.jsonl")).text
    found = [json.loads(line) for line in lines.split("\n")[:-1]]
    assert found == [answered[0] | {"file": "shipped:spam_train.csv"}, answered[1]]


async def test_the_list_is_paged_sorted_and_filtered_by_known_fields_only(world):
    for _ in range(3):
        await a_run(world)
    first = (await world.ask("viewer", "GET", "/runs?limit=2&sort=name")).json()
    rest = (await world.ask("viewer", "GET", "/runs?limit=500&offset=2&sort=name")).json()
    ids = [run["id"] for run in first["items"] + rest["items"]]
    assert len(first["items"]) == 2 and len(set(ids)) == len(ids) == first["total"]
    none = (await world.ask("viewer", "GET", "/runs?state=failed")).json()
    assert none == {"items": [], "total": 0}


async def test_a_run_is_renamed_and_tagged_and_names_are_plain_text(world):
    run = await a_run(world)
    changes = {"name": "<b>:x</b>", "tags": ["{{ 1 }}", ":onclick"]}
    got = await world.ask("editor", "PATCH", f"/runs/{run.id}", changes)
    assert got.status_code == 200 and got.json()["name"] == "<b>:x</b>"
    assert got.json()["tags"] == changes["tags"]
    bad = await world.ask("editor", "PATCH", f"/runs/{run.id}", {"name": "two\nlines"})
    assert bad.status_code == 422 and bad.json()["problems"][0]["key"] == "name"


async def test_a_deleted_run_is_gone_with_its_folder_and_its_events(world):
    run = await a_run(world)
    assert (await world.ask("editor", "DELETE", f"/runs/{run.id}")).status_code == 204
    assert not run.path.exists()
    for path in ("", "/events?follow=false", "/report", "/artifacts", "/files/report.md"):
        assert (await world.ask("editor", "GET", f"/runs/{run.id}{path}")).status_code == 404


async def test_a_run_that_rests_is_deleted_and_its_job_cancelled(world):
    run = await a_run(world)
    editor = world.people["editor"]
    job = await world.job(world.here, editor.user_id, state="paused", kind="train")
    await world.sql(update(jobs).where(jobs.c.id == job).values(run_id=run.id))
    assert (await world.ask("editor", "DELETE", f"/runs/{run.id}")).status_code == 204
    assert not run.path.exists()
    assert (await world.ask("editor", "GET", f"/jobs/{job}")).json()["state"] == "cancelled"


async def test_a_run_at_work_takes_commands_and_is_not_deleted(world):
    run = await a_run(world)
    with open_for_writing(run):
        sent = await world.ask(
            "editor", "POST", f"/runs/{run.id}/control",
            {"command": "set", "key": "learning_rate", "value": 1e-5},
        )  # fmt: skip
        assert sent.status_code == 202, sent.text
        found = await world.ask("editor", "DELETE", f"/runs/{run.id}")
        assert (found.status_code, found.json()["code"]) == (409, "RUN_LOCKED")
    commands, _ = read_commands(run.control)
    assert [(one.id, one.key, one.value, one.by) for one in commands] == [
        (sent.json()["id"], "learning_rate", 1e-5, "editor")
    ]


@pytest.mark.parametrize(
    ("body", "code", "hint"),
    [
        ({"command": "puase"}, "CONTROL_UNKNOWN", "Did you mean 'pause'?"),
        ({"command": "set", "key": "lerning_rate", "value": 1}, "CONTROL_KEY", "'learning_rate'"),
        ({"command": "set", "key": "learning_rate", "value": -1}, "CONTROL_VALUE", "greater than"),
    ],
)
async def test_a_command_with_a_typo_is_refused_with_what_works(world, body, code, hint):
    run = await a_run(world)
    with open_for_writing(run):
        got = await world.ask("editor", "POST", f"/runs/{run.id}/control", body)
    assert (got.status_code, got.json()["code"]) == (422, code)
    assert hint in got.json()["message"]
    assert not run.control.exists()


async def test_a_command_to_a_run_that_has_ended_is_refused(world):
    run = await a_run(world)
    got = await world.ask("editor", "POST", f"/runs/{run.id}/control", {"command": "pause"})
    assert (got.status_code, got.json()["code"]) == (409, "NOT_RUNNING")


async def test_only_a_server_admin_adopts_a_folder_from_elsewhere(world, tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("elsewhere") / "mine")
    write_run(folder)
    refused = await world.ask("owner", "POST", "/runs/adopt", {"path": str(folder.path)})
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN_SERVER")
    made = await world.ask("root", "POST", "/runs/adopt", {"path": str(folder.path)})
    assert made.status_code == 201, made.text
    run = made.json()["id"]
    report = await world.ask("viewer", "GET", f"/runs/{run}/report")
    assert report.json()["tuned"] == {"loss": 1.0}
    twice = await world.ask("root", "POST", "/runs/adopt", {"path": str(folder.path)})
    assert (twice.status_code, twice.json()["code"]) == (409, "ADOPT_TWICE")
    none = await world.ask("root", "POST", "/runs/adopt", {"path": "/etc"})
    assert (none.status_code, none.json()["code"]) == (422, "ADOPT_NO_RUN")
    assert (await world.ask("editor", "DELETE", f"/runs/{run}")).status_code == 204
    assert folder.report_json.exists()  # only the link is gone


async def test_a_run_of_a_terminal_appears_with_its_events(world):
    run = RunFolder(world.root / "runs" / "20261122-130000-000-by-hand")
    write_run(run)
    await world.parts.runs.sweep(all_of_them=True)
    got = (await world.ask("viewer", "GET", f"/runs/{run.id}")).json()
    assert got["user_id"] is None and got["state"] == "done" and got["step"] == 2
    told = await world.ask("viewer", "GET", f"/runs/{run.id}/events?follow=false")
    assert [event["seq"] for event in events_of(told.text)] == [1, 2, 3, 4]


async def test_a_new_name_outlives_the_next_look_at_the_folder(world):
    run = RunFolder(world.root / "runs" / "20261122-130001-000-renamed")
    write_run(run)
    await world.parts.runs.sweep(all_of_them=True)
    await world.ask("editor", "PATCH", f"/runs/{run.id}", {"name": "mine"})
    write_events(run, steps=1, first=3, attempt=2)
    await world.parts.runs.sweep(all_of_them=True)
    got = (await world.ask("viewer", "GET", f"/runs/{run.id}")).json()
    assert got["step"] == 3 and got["name"] == "mine"


class TestEvents:
    async def test_a_run_that_is_over_tells_all_and_says_so(self, world):
        run = await a_run(world)
        told = await world.ask("viewer", "GET", f"/runs/{run.id}/events")
        assert told.headers["content-type"].startswith("text/event-stream")
        assert [event["kind"] for event in events_of(told.text)] == [
            "run_started",
            "step",
            "step",
            "run_ended",
        ]
        assert last_word(told.text) == ("end", "over")

    async def test_history_is_resolved_unless_every_line_is_asked_for(self, world):
        run = await a_run(world)
        write_events(run, steps=2, first=2, attempt=2)  # step 2 is done again
        told = await world.ask("viewer", "GET", f"/runs/{run.id}/events?follow=false")
        assert [e["step"] for e in events_of(told.text) if e["kind"] == "step"] == [1, 2, 3]
        raw = await world.ask("viewer", "GET", f"/runs/{run.id}/events?follow=false&view=raw")
        assert [e["step"] for e in events_of(raw.text) if e["kind"] == "step"] == [1, 2, 2, 3]

    async def test_a_browser_that_has_seen_all_is_told_not_to_come_again(self, world):
        run = await a_run(world)
        last = {"Last-Event-ID": "4"}
        got = await world.ask("viewer", "GET", f"/runs/{run.id}/events", headers=last)
        assert got.status_code == 204

    async def test_torn_lines_are_left_out(self, world):
        run = await a_run(world)
        with run.events.open("ab") as file:
            file.write(b'{"seq": 5, "attempt": 1, "time": "", "ki')
        write_events(run, steps=1, first=3, attempt=2)
        told = await world.ask("viewer", "GET", f"/runs/{run.id}/events?follow=false")
        assert [event["seq"] for event in events_of(told.text)] == [1, 2, 3, 4, 5, 6, 7]

    async def test_paths_of_the_server_are_not_told(self, world):
        run = await a_run(world)
        dataset = "ab" * 16
        path = world.root / "datasets" / dataset / "data.csv"
        with run.events.open("a") as file:
            note = {"kind": "note", "message": f"{path}: row 3; {world.root}/jobs"}
            file.write(json.dumps({"seq": 5, "attempt": 1, "time": ""} | note) + "\n")
        told = await world.ask("viewer", "GET", f"/runs/{run.id}/events?follow=false")
        assert str(world.root) not in told.text
        assert events_of(told.text)[-1]["message"] == f"dataset:{dataset}: row 3; jobs"

    async def test_one_person_holds_so_many_streams(self, world, monkeypatch):
        run = await a_run(world)
        monkeypatch.setattr(world.app.state.api.streams, "_most", 0)
        got = await world.ask("viewer", "GET", f"/runs/{run.id}/events")
        assert (got.status_code, got.json()["code"]) == (429, "TOO_MANY_STREAMS")
        assert got.headers["retry-after"] == "5"


async def test_artifacts_have_sizes_hashes_and_the_parity_report(world):
    run = await a_run(world)
    listed = (await world.ask("viewer", "GET", f"/runs/{run.id}/artifacts")).json()
    assert [(one["format"], one["passed"]) for one in listed] == [("hf", True)]
    one = (await world.ask("viewer", "GET", f"/runs/{run.id}/artifacts/hf")).json()
    files = {file["name"]: file for file in one["files"]}
    assert one["parity"]["max_abs_diff"] == 0.0
    assert (one["base_model"], one["base_on_hub"]) == (None, None), "its lineage doesn't tell"
    assert files["model.safetensors"]["size"] == 7
    assert (
        len(files["model.safetensors"]["sha256"]) == 64 and files["parity.json"]["sha256"] is None
    )


async def test_an_artifact_is_downloaded_as_an_attachment_and_in_parts(world):
    run = await a_run(world)
    path = f"/runs/{run.id}/artifacts/hf/files/model.safetensors"
    got = await world.ask("viewer", "GET", path)
    assert got.content == b"weights" and "attachment" in got.headers["content-disposition"]
    assert "sandbox" in got.headers["content-security-policy"]
    part = await world.ask("viewer", "GET", path, headers={"Range": "bytes=2-3"})
    assert (part.status_code, part.content) == (206, b"ig")


async def test_a_whole_artifact_is_one_zip_named_after_the_run(world):
    run = await a_run(world)
    await world.ask("editor", "PATCH", f"/runs/{run.id}", {"name": "Grüße 2"})
    (run.artifacts / "hf" / "deep").mkdir()
    (run.artifacts / "hf" / "deep" / "b.bin").write_bytes(bytes(range(256)) * 900)
    got = await world.ask("viewer", "GET", f"/runs/{run.id}/artifacts/hf/archive")
    assert got.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''Gr%C3%BC%C3%9Fe%202-hf.zip"
    )
    assert got.headers["content-length"] == str(len(got.content))
    with zipfile.ZipFile(io.BytesIO(got.content)) as archive:
        assert archive.testzip() is None
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        read = {name: archive.read(name) for name in archive.namelist()}
    files = [path for path in (run.artifacts / "hf").rglob("*") if path.is_file()]
    folder = run.artifacts
    assert read == {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


async def test_a_file_that_shrinks_meanwhile_breaks_the_download_off(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    parts = iter(zip_of(tmp_path, ["big"]))
    next(parts)
    (tmp_path / "big").write_bytes(b"x" * (1 << 20))
    with pytest.raises(RuntimeError, match="did not match"):
        list(parts)


async def test_an_artifact_is_deleted_but_not_while_somebody_writes(world):
    run = await a_run(world)
    with open_for_writing(run):
        got = await world.ask("editor", "DELETE", f"/runs/{run.id}/artifacts/hf")
        assert (got.status_code, got.json()["code"]) == (409, "RUN_LOCKED")
    assert (await world.ask("editor", "DELETE", f"/runs/{run.id}/artifacts/hf")).status_code == 204
    assert (await world.ask("viewer", "GET", f"/runs/{run.id}/artifacts")).json() == []


@pytest.mark.parametrize("state", ["queued", "paused"])
async def test_a_command_to_a_run_whose_job_does_not_work_names_the_job(world, monkeypatch, state):
    monkeypatch.setattr(world.parts.supervisor, "slots", {})  # no job starts
    run = await a_run(world)
    editor = world.people["editor"].user_id
    job = await world.job(world.here, editor, kind="train", run=run.id, state=state)
    got = await world.ask("editor", "POST", f"/runs/{run.id}/control", {"command": "pause"})
    assert (got.status_code, got.json()["code"]) == (409, "NOT_RUNNING")
    assert job in got.text and "gemma-keras-tune" not in got.text


async def test_a_job_that_waits_for_a_run_at_work_keeps_no_command_from_it(world, monkeypatch):
    monkeypatch.setattr(world.parts.supervisor, "slots", {})  # no job starts
    run = await a_run(world)
    editor = world.people["editor"].user_id
    await world.job(world.here, editor, kind="export", run=run.id, state="queued")
    with open_for_writing(run):
        got = await world.ask("editor", "POST", f"/runs/{run.id}/control", {"command": "pause"})
        assert got.status_code == 202, got.text
    sent, _ = read_commands(run.control)
    assert [command.command for command in sent] == ["pause"]


async def test_a_misspelt_filter_does_not_list_everything(world):
    for path, near in (("/runs?stat=done", "state"), ("/jobs?knd=data", "kind")):
        got = await world.ask("viewer", "GET", path)
        assert (got.status_code, got.json()["code"]) == (422, "UNKNOWN_FIELD")
        assert f"Did you mean {near}?" in got.text


async def test_a_log_is_a_text_file_without_paths(world):
    run = await a_run(world)
    missing = await world.ask("viewer", "GET", f"/runs/{run.id}/log")
    assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")
    editor = world.people["editor"].user_id
    await world.job(world.here, editor, kind="train", run=run.id)
    job = await world.job(world.here, editor, kind="train", run=run.id)
    JobFolder(world.root / "jobs" / job).log.write_text(f"{world.root}/jobs/x\n<script>\n")
    got = await world.ask("viewer", "GET", f"/runs/{run.id}/log")
    assert got.text == "jobs/x\n<script>\n" and got.headers["content-type"].startswith("text/plain")
    assert "attachment" in got.headers["content-disposition"]


async def collect(world: World, run: RunFolder, who: str, told: list[str]) -> httpx.Response:
    """Reads a live stream straight from the app, since httpx waits for its end."""
    sent: list[Any] = []
    headers = [(name.lower().encode(), value.encode()) for name, value in _headers(world, who)]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "GET",
        "path": f"/api/v1/runs/{run.id}/events", "raw_path": b"", "query_string": b"",
        "headers": headers, "scheme": "http", "http_version": "1.1", "root_path": "",
        "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip

    async def receive() -> dict:
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        told.append(message.get("body", b"").decode())

    await world.app(scope, receive, send)
    return httpx.Response(sent[0]["status"])


def _headers(world: World, who: str) -> list[tuple[str, str]]:
    return [("host", "localhost"), *world.people[who].headers.items()]


async def until_told(told: list[str], words: str) -> None:
    async with asyncio.timeout(10):
        while words not in "".join(told):  # noqa: ASYNC110  # it is filled by another task
            await asyncio.sleep(0.02)


class TestLive:
    async def test_what_is_written_arrives_and_the_end_is_said(self, world, monkeypatch):
        monkeypatch.setattr(streams, "HEARTBEAT_S", 0.6)
        run, told = await a_run(world), list[str]()
        with open_for_writing(run):
            reading = asyncio.create_task(collect(world, run, "viewer", told))
            await until_told(told, '"seq": 4')
            await until_told(told, ": still here")
            write_events(run, steps=1, first=3, attempt=2)
            await until_told(told, '"seq": 7')
        await asyncio.wait_for(reading, 10)
        assert [event["seq"] for event in events_of("".join(told))] == [1, 2, 3, 4, 5, 6, 7]
        assert last_word("".join(told)) == ("end", "over")

    async def test_a_session_that_is_ended_hears_no_more(self, world, monkeypatch):
        monkeypatch.setattr(streams, "CHECK_S", 0.1)
        run, told = await a_run(world), list[str]()
        from gemma_keras_tune_ui.identity.access import Role

        guest = await world.person("guest", Role.VIEWER)
        with open_for_writing(run):
            reading = asyncio.create_task(collect(world, run, "guest", told))
            await until_told(told, '"seq": 4')
            await world.parts.identity.sessions.revoke_all_of(guest.user_id, actor="test")
            await asyncio.wait_for(reading, 10)
            write_events(run, steps=1, first=3, attempt=2)
        assert last_word("".join(told)) == ("end", "access")
        assert world.app.state.api.streams._open == {}

    async def test_a_revoked_token_hears_no_more(self, world, monkeypatch):
        monkeypatch.setattr(streams, "CHECK_S", 0.1)
        from gemma_keras_tune_ui.identity.access import Role

        guest = await world.person("reader", Role.VIEWER, scope="read")
        run, told = await a_run(world), list[str]()
        with open_for_writing(run):
            reading = asyncio.create_task(collect(world, run, "reader", told))
            await until_told(told, '"seq": 4')
            tokens = world.parts.identity.tokens
            await tokens.revoke(guest.principal, (await tokens.list_of(guest.principal))[0].id)
            await asyncio.wait_for(reading, 10)
        assert last_word("".join(told)) == ("end", "access")

    async def test_a_reader_who_falls_behind_is_told_to_come_again(self, world, monkeypatch):
        run, told = await a_run(world), list[str]()
        feed = world.app.state.api.events
        monkeypatch.setattr(feed, "most", 3)
        with open_for_writing(run):
            reading = asyncio.create_task(collect(world, run, "viewer", told))
            await until_told(told, '"seq": 4')
            await asyncio.sleep(2 * feed.poll_s)
            write_events(run, steps=20, first=3, attempt=2)
            await asyncio.wait_for(reading, 10)
        assert last_word("".join(told)) == ("reconnect", "slow")
        seen = [event["seq"] for event in events_of("".join(told))]
        assert seen == [1, 2, 3, 4]  # nothing after a gap

"""Data sets over the API: from an upload to the trash."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.ui.api.world import CSV, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECE = {"Content-Type": "application/offset+octet-stream"}


async def upload(world: World, content: bytes, name: str = "rows.csv") -> str:
    new = {"purpose": "dataset", "name": name, "size": len(content)}
    made = await world.ask("editor", "POST", "/uploads", new)
    assert made.status_code == 201, made.text
    id, half = made.json()["id"], len(content) // 2
    for offset, piece in ((0, content[:half]), (half, content[half:])):
        headers = {**PIECE, "Upload-Offset": str(offset)}
        sent = await world.ask("editor", "PATCH", f"/uploads/{id}", content=piece, headers=headers)
        assert sent.status_code == 204, sent.text
    return id


async def test_an_upload_becomes_a_data_set_once(world):
    id = await upload(world, CSV)
    made = await world.ask("editor", "POST", "/datasets", {"upload": id, "name": "My rows"})
    assert made.status_code == 201, made.text
    found = made.json()
    assert (found["name"], found["file_name"]) == ("My rows", "rows.csv")
    assert found["sha256"] == hashlib.sha256(CSV).hexdigest()
    twin = await upload(world, CSV)
    again = await world.ask("editor", "POST", "/datasets", {"upload": twin, "name": "Other"})
    assert again.json() == found  # the same bytes, so the same data set
    listed = (await world.ask("viewer", "GET", "/datasets?name=My%20rows")).json()
    assert [one["id"] for one in listed["items"]] == [found["id"]]


async def test_an_upload_that_lies_about_its_size_is_refused(world):
    new = {"purpose": "dataset", "name": "a.csv", "size": 4}
    id = (await world.ask("editor", "POST", "/uploads", new)).json()["id"]
    headers = {**PIECE, "Upload-Offset": "0"}
    got = await world.ask("editor", "PATCH", f"/uploads/{id}", content=b"12345", headers=headers)
    assert (got.status_code, got.json()["code"]) == (413, "UPLOAD_LIES")
    early = await world.ask("editor", "POST", "/datasets", {"upload": id})
    assert (early.status_code, early.json()["code"]) == (409, "UPLOAD_INCOMPLETE")


async def test_changes_of_uploads_and_data_sets_are_in_the_audit_log(world):
    id = await upload(world, b"text,label\nother,ham\n")
    data = (await world.ask("editor", "POST", "/datasets", {"upload": id})).json()["id"]
    await world.ask("editor", "DELETE", f"/datasets/{data}")
    listed = (await world.ask("admin", "GET", f"/audit?object={data}&sort=seq")).json()
    assert [line["action"] for line in listed["items"]] == [
        "upload.created",
        "dataset.created",
        "dataset.deleted",
    ]
    assert {line["actor"] for line in listed["items"]} == {world.people["editor"].user_id}


async def test_a_data_set_goes_to_the_trash_but_not_while_a_job_uses_it(world):
    editor = world.people["editor"]
    data = await world.dataset(world.here, editor.user_id)
    recipe = {
        "recipe_name": "spam_classifier",
        "set": {"data.path": f"dataset:{data}", "data.test_path": None},
    }
    job = await world.ask("editor", "POST", "/jobs", {"kind": "train", "recipe": recipe})
    assert job.status_code == 201, job.text
    got = await world.ask("editor", "DELETE", f"/datasets/{data}")
    assert (got.status_code, got.json()["code"]) == (409, "DATASET_IN_USE")
    async with asyncio.timeout(20):
        while got.status_code == 409:
            await world.ask("editor", "POST", f"/jobs/{job.json()['id']}/cancel")
            got = await world.ask("editor", "DELETE", f"/datasets/{data}")
            await asyncio.sleep(0.05)
    assert got.status_code == 204
    assert not (world.root / "datasets" / data).exists()
    (kept,) = (world.root / "trash" / "datasets").glob(f"{data}.*")
    assert (kept / "data.csv").read_bytes() == CSV
    assert (await world.ask("viewer", "GET", f"/datasets/{data}")).status_code == 404
    checked = await world.ask("viewer", "POST", "/recipes/check", recipe)
    assert "this workspace has no dataset" in checked.text


async def test_who_only_looks_at_a_data_set_keeps_nobody_from_deleting_it(world, monkeypatch):
    monkeypatch.setattr(world.parts.supervisor, "slots", {})  # no job starts
    owner = world.people["editor"].user_id
    gone, stays = [await world.dataset(world.here, owner) for _ in range(2)]
    looks = [
        (await world.ask("editor", "POST", f"/datasets/{data}/check", {"wait_s": 0})).json()["id"]
        for data in (gone, stays)
    ]
    assert (await world.ask("editor", "DELETE", f"/datasets/{gone}")).status_code == 204
    states = [(await world.ask("editor", "GET", f"/jobs/{id}")).json()["state"] for id in looks]
    assert states == ["cancelled", "queued"]


async def test_a_look_is_answered_at_once_or_as_a_job(world):
    data = await world.dataset(world.here, world.people["editor"].user_id)
    soon = await world.ask("editor", "POST", f"/datasets/{data}/check", {"wait_s": 10})
    assert soon.status_code == 200 and soon.json()["status"] == "done"
    later = await world.ask("editor", "POST", f"/datasets/{data}/columns", {"wait_s": 0})
    assert later.status_code == 202 and later.json()["kind"] == "data"
    assert later.json()["args"]["path"] == f"dataset:{data}"


async def test_a_data_set_of_another_workspace_cannot_be_named(world):
    hers = await world.dataset(world.there, world.people["eve"].user_id)
    look = {"action": "check", "path": f"dataset:{hers}"}
    got = await world.ask("editor", "POST", "/jobs", {"kind": "data", "args": look})
    assert (got.status_code, got.json()["code"]) == (422, "NAME_UNKNOWN")
    given = {"recipe_name": "spam_classifier", "set": {"data.path": f"dataset:{hers}"}}
    got = await world.ask("editor", "POST", "/recipes/check", given)
    assert got.status_code == 422 and "this workspace has no dataset" in got.text


async def test_what_is_said_of_a_data_set_is_kept_and_checked(world):
    data = await world.dataset(world.here, world.people["editor"].user_id)
    assert (await world.ask("viewer", "GET", f"/datasets/{data}")).json()["settings"] is None
    said = {"task": "classification", "columns": {"text": "__proto__", "label": ":x"}}
    changes = {"name": "Mine", "settings": said}
    got = await world.ask("editor", "PATCH", f"/datasets/{data}", changes)
    assert (got.status_code, got.json()["settings"], got.json()["name"]) == (200, said, "Mine")
    got = await world.ask("editor", "PATCH", f"/datasets/{data}", {"name": "Yours"})
    assert (got.json()["settings"], got.json()["name"]) == (said, "Yours")
    for wrong, why in (
        ({"task": "classification", "path": "/etc/passwd"}, "takes no path"),
        ({"task": "poetry"}, "task"),
        ({"task": "text", "columns": {"label": "a"}}, "no part of the task"),
        ({"task": "text", "max_lenght": 5}, "max_length"),
        ({"task": "text", "prompt_format": "{prompt}" + "x" * 70_000}, "at most"),
    ):
        got = await world.ask("editor", "PATCH", f"/datasets/{data}", {"settings": wrong})
        assert (got.status_code, got.json()["code"]) == (422, "DATASET_SETTINGS"), got.text
        assert why in got.text
    assert (await world.ask("viewer", "GET", f"/datasets/{data}")).json()["settings"] == said

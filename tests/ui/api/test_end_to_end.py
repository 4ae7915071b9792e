"""The real child behind the real app: data, training, events, report and download over the API."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert

from gemma_keras_tune_ui.store.tables import uploads
from tests.support.command_line import write_rows
from tests.support.jobs import save_model
from tests.ui.api.test_datasets import upload
from tests.ui.api.test_runs import events_of, last_word
from tests.ui.api.world import NOW, World, open_world

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_world(tmp_path_factory.mktemp("root"), is_real=True) as opened:
        yield opened


async def done(world: World, job: str) -> dict[str, Any]:
    """The job, once it has ended well."""
    async with asyncio.timeout(240):
        while True:
            got = (await world.ask("editor", "GET", f"/jobs/{job}")).json()
            if got["state"] not in ("queued", "running"):
                assert got["state"] == "done", got
                return got
            await asyncio.sleep(0.3)


async def uploaded_model(world: World) -> str:
    """A tiny model, as if somebody had uploaded it."""
    id = secrets.token_hex(16)
    await asyncio.to_thread(save_model, world.root / "models" / id)
    values = {
        "id": id,
        "workspace_id": world.here,
        "user_id": world.people["editor"].user_id,
        "purpose": "model",
        "display_name": "model.safetensors",
        "size": 1,
        "received": 1,
        "state": "done",
        "created_at": NOW,
        "touched_at": NOW,
    }
    await world.sql(insert(uploads).values(values))
    return id


async def test_from_an_upload_to_a_download(world, tmp_path):
    rows = tmp_path / "rows.csv"
    write_rows(rows, count=40)
    id = await upload(world, rows.read_bytes())
    data = (await world.ask("editor", "POST", "/datasets", {"upload": id})).json()["id"]
    model = await uploaded_model(world)

    looked = await world.ask(
        "editor", "POST", f"/datasets/{data}/columns", {"rows": 3, "wait_s": 0}
    )
    await done(world, looked.json()["id"])
    table = (await world.ask("viewer", "GET", f"/jobs/{looked.json()['id']}/result")).json()
    assert [column["id"] for column in table["value"]["columns"]][:2] == ["c0", "c1"]
    assert len(table["value"]["rows"]) == 3
    looked = await world.ask("editor", "POST", f"/datasets/{data}/check", {"wait_s": 10})
    assert looked.status_code == 200 and looked.json()["value"]["rows"] == 40, looked.text

    recipe: dict[str, Any] = {
        "name": "tiny",
        "data": {"path": f"dataset:{data}", "task": "classification", "max_length": 64},
        "model": {"preset": f"model:{model}", "lora": {"rank": 2}},
        "train": {"max_steps": 3, "batch_tokens": 128, "micro_batch_tokens": 128, "label_rows": 0},
        "evaluate": {"samples": 0, "max_tokens": 4},
    }
    new = {"kind": "train", "recipe": {"recipe": recipe}}
    made = await world.ask("editor", "POST", "/jobs", new)
    assert made.status_code == 201, made.text
    run = made.json()["run"]
    told = await world.ask("viewer", "GET", f"/runs/{run}/events", timeout=240)
    assert last_word(told.text) == ("end", "over")
    steps = [event["step"] for event in events_of(told.text) if event["kind"] == "step"]
    assert steps == [1, 2, 3]
    await done(world, made.json()["id"])
    assert str(world.root) not in told.text

    shown = (await world.ask("viewer", "GET", f"/runs/{run}")).json()
    assert shown["recipe"]["data"]["path"] == f"dataset:{data}"
    assert shown["recipe"]["model"]["preset"] == f"model:{model}"
    assert shown["lineage"]["data"][0]["sha256"] == hashlib.sha256(rows.read_bytes()).hexdigest()
    report = (await world.ask("viewer", "GET", f"/runs/{run}/report")).json()
    assert report["tuned"]["loss"] > 0 and report["base"]["loss"] > 0
    further = {**recipe, "name": "further", "model": recipe["model"] | {"adapter": f"run:{run}"}}
    made = await world.ask(
        "editor", "POST", "/jobs", {"kind": "train", "recipe": {"recipe": further}}
    )
    assert made.status_code == 201, made.text
    await done(world, made.json()["id"])
    second = (await world.ask("viewer", "GET", f"/runs/{made.json()['run']}")).json()
    assert second["recipe"]["model"]["adapter"] == f"run:{run}"
    assert len(second["lineage"]["adapter"]["sha256"]) == 64

    report_md = await world.ask("viewer", "GET", f"/runs/{run}/files/report.md")
    assert report_md.status_code == 200
    log = await world.ask("viewer", "GET", f"/runs/{run}/log")
    assert log.status_code == 200 and str(world.root) not in log.text

    job = {"kind": "export", "run": run, "args": {"format": "peft"}}
    exported = await world.ask("editor", "POST", "/jobs", job)
    assert exported.status_code == 201, exported.text
    await done(world, exported.json()["id"])
    artifact = (await world.ask("viewer", "GET", f"/runs/{run}/artifacts/peft")).json()
    assert artifact["passed"] is True
    hashed = [file for file in artifact["files"] if file["sha256"] is not None]
    assert hashed
    for file in hashed:
        got = await world.ask("viewer", "GET", f"/runs/{run}/artifacts/peft/files/{file['name']}")
        assert hashlib.sha256(got.content).hexdigest() == file["sha256"]

    asked = {"kind": "generate", "run": run, "args": {"prompt": "win a prize", "max_tokens": 4}}
    answered = await world.ask("editor", "POST", "/jobs", asked)
    await done(world, answered.json()["id"])
    said = (await world.ask("viewer", "GET", f"/jobs/{answered.json()['id']}/result")).json()
    assert isinstance(said["value"]["text"], str)

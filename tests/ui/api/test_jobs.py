"""Submitting jobs over the API, and what becomes of them; a fake child does them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.ui.api.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRAIN = {
    "kind": "train",
    "recipe": {"recipe_name": "spam_classifier", "set": {"train.max_steps": 3}},
}


async def reach(world: World, job: str, *states: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            got = (await world.ask("editor", "GET", f"/jobs/{job}")).json()
            if got["state"] in states:
                return got
            await asyncio.sleep(0.05)


def runs_on_disk(world: World) -> set[str]:
    folder = world.root / "runs"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


async def test_a_training_makes_a_run_and_comes_to_its_end(world):
    made = await world.ask("editor", "POST", "/jobs", TRAIN)
    assert made.status_code == 201, made.text
    job = made.json()
    assert made.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert job["args"]["recipe"]["data"]["path"] == "shipped:spam_train.csv"
    assert job["args"]["recipe"]["train"]["max_steps"] == 3
    run = (await world.ask("viewer", "GET", f"/runs/{job['run']}")).json()
    assert run["name"] == "spam-classifier" and run["user_id"] == world.people["editor"].user_id
    done = await reach(world, job["id"], "done", "failed")
    assert done["state"] == "done"
    result = (await world.ask("viewer", "GET", f"/jobs/{job['id']}/result")).json()
    assert result["status"] == "done"
    told = await world.ask("viewer", "GET", f"/runs/{job['run']}/events?view=raw")
    assert '"kind": "checkpoint"' in told.text


async def test_twenty_identical_requests_at_once_make_one_job_and_one_run(world):
    before = runs_on_disk(world)
    key = {"Idempotency-Key": "twenty"}
    answers = await asyncio.gather(
        *(world.ask("editor", "POST", "/jobs", TRAIN, headers=key) for _ in range(20))
    )
    assert sorted({answer.status_code for answer in answers}) == [200, 201]
    assert sum(answer.status_code == 201 for answer in answers) == 1
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(runs_on_disk(world) - before) == 1
    audit = await world.ask("admin", "GET", f"/audit?object={answers[0].json()['id']}")
    assert [line["action"] for line in audit.json()["items"]] == ["job.submitted"]


async def test_the_same_key_for_other_work_is_refused(world):
    key = {"Idempotency-Key": "other-work"}
    await world.ask("editor", "POST", "/jobs", TRAIN, headers=key)
    before = runs_on_disk(world)
    other = {"kind": "train", "recipe": {"recipe_name": "chat_answers"}}
    got = await world.ask("editor", "POST", "/jobs", other, headers=key)
    assert (got.status_code, got.json()["code"]) == (409, "JOB_KEY_REUSED")
    assert runs_on_disk(world) == before


async def test_a_key_of_another_workspace_is_another_key(world):
    key = {"Idempotency-Key": "shared"}
    mine = await world.ask("editor", "POST", "/jobs", TRAIN, headers=key)
    hers = await world.ask("eve", "POST", "/jobs", TRAIN, headers=key)
    assert (mine.status_code, hers.status_code) == (201, 201)
    assert mine.json()["id"] != hers.json()["id"]


@pytest.mark.parametrize(
    ("body", "key", "words"),
    [
        ({"kind": "trian"}, "kind", "'train'"),
        ({"kind": "train"}, "body", "needs a recipe"),
        ({"kind": "export", "run": "RUN", "args": {"format": "pt"}}, "args.format", "'hf'"),
        ({"kind": "generate", "run": "RUN"}, "args.prompt", "either a prompt, messages or a text"),
        ({"kind": "answer", "run": "RUN"}, "", "dataset:ID"),
        ({"kind": "train", "recipe": {"recipe": {"name": "x"}}}, "data", "is missing"),
        ({"kind": "data", "args": {"action": "check", "path": "/etc/passwd"}}, "", "dataset:ID"),
    ],
)
async def test_what_is_wrong_is_told_by_its_key(world, body, key, words):
    run = await world.run(world.here, world.people["editor"].user_id)
    body = {name: run if value == "RUN" else value for name, value in body.items()}
    got = await world.ask("editor", "POST", "/jobs", body)
    assert got.status_code == 422
    said = got.json()
    if key:
        assert [flaw["key"] for flaw in said["problems"]] == [key]
    assert words in got.text and said["request_id"]


async def test_all_problems_of_a_recipe_are_told_at_once(world):
    changes = {"train.epochs": 0, "train.lerning_rate": 1, "data.path": "/etc/passwd"}
    given = {"recipe_name": "spam_classifier", "set": changes}
    got = (await world.ask("viewer", "POST", "/recipes/check", given)).json()
    assert got["code"] == "RECIPE_INVALID"
    found = {flaw["key"]: flaw["message"] for flaw in got["problems"]}
    assert found.keys() == {"data.path", "train.epochs", "train.lerning_rate"}
    assert "Did you mean 'train.learning_rate'?" in found["train.lerning_rate"]


async def test_a_recipe_goes_round_by_toml(world):
    first = (await world.ask("viewer", "GET", "/recipes/spam_classifier")).json()
    again = await world.ask("viewer", "POST", "/recipes/check", {"toml": first["toml"]})
    assert again.json() == first
    schema = (await world.ask("viewer", "GET", "/recipes/schema")).json()
    rate = schema["$defs"]["TrainRecipe"]["properties"]["learning_rate"]
    assert rate["default"] == 2e-4 and rate["maximum"] == 1 and "Step size" in rate["description"]


async def test_cancel_pause_and_resume(world):
    editor = world.people["editor"]
    job = await world.job(world.here, editor.user_id, state="paused")
    ranked = await world.ask("admin", "POST", f"/jobs/{job}/priority", {"priority": 3})
    assert ranked.json()["priority"] == 3
    cancelled = await world.ask("editor", "POST", f"/jobs/{job}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    again = await world.ask("editor", "POST", f"/jobs/{job}/cancel")
    assert again.status_code == 200 and again.json()["state"] == "cancelled"
    late = await world.ask("editor", "POST", f"/jobs/{job}/resume")
    assert (late.status_code, late.json()["code"]) == (409, "JOB_NOT_PAUSED")
    late = await world.ask("admin", "POST", f"/jobs/{job}/priority", {"priority": 3})
    assert (late.status_code, late.json()["code"]) == (409, "JOB_NOT_QUEUED")


async def test_a_high_priority_is_for_admins(world):
    body = TRAIN | {"priority": 1}
    assert (await world.ask("editor", "POST", "/jobs", body)).status_code == 403
    assert (await world.ask("admin", "POST", "/jobs", body)).status_code == 201


async def test_a_quota_is_kept(world):
    owner = world.people["owner"]
    quota = {"user_id": owner.user_id, "queued_jobs": 0}
    assert (await world.ask("admin", "PUT", "/quotas", quota)).status_code == 204
    before = runs_on_disk(world)
    got = await world.ask("owner", "POST", "/jobs", TRAIN)
    assert (got.status_code, got.json()["code"]) == (409, "QUOTA_QUEUED_JOBS")
    assert runs_on_disk(world) == before
    quota["queued_jobs"] = None
    assert (await world.ask("admin", "PUT", "/quotas", quota)).status_code == 204


async def test_a_result_tells_names_and_a_job_without_one_says_so(world):
    editor = world.people["editor"]
    done = await world.job(world.here, editor.user_id)
    got = (await world.ask("viewer", "GET", f"/jobs/{done}/result")).json()
    assert got["value"] == {"rows": 2, "file": f"dataset:{'0' * 32}"}
    log = await world.ask("viewer", "GET", f"/jobs/{done}/log")
    assert log.text == f"reads dataset:{'0' * 32}\n"
    waits = await world.job(world.here, editor.user_id, state="cancelled")
    (world.root / "jobs" / waits / "result.json").unlink()
    got = (await world.ask("viewer", "GET", f"/jobs/{waits}/result")).json()
    assert (got["status"], got["code"]) == ("failed", "CANCELLED")


async def test_a_model_is_named_by_preset_handle_or_id_and_by_nothing_else(world):
    for name in ("demo", "gemma3_instruct_1b", "kaggle://keras/gemma3/keras/gemma3_1b/3"):
        given = {"recipe_name": "spam_classifier", "set": {"model.preset": name}}
        assert (await world.ask("viewer", "POST", "/recipes/check", given)).status_code == 200
    wrong: tuple[Any, ...] = (
        "/etc",
        "./x",
        "~/x",
        "file:///etc",
        "gs://b/o",
        "https://x/y",
        "hf://../x",
        3,
    )
    for other in wrong:
        given = {"recipe_name": "spam_classifier", "set": {"model.preset": other}}
        got = await world.ask("viewer", "POST", "/recipes/check", given)
        assert got.status_code == 422 and "model.preset" in got.text, other

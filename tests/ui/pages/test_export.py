"""Exports: what the job does now, how to run what was made, and what is recommended."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.event_types import Note, Progress, RunEnded, RunStarted
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune.job_folder import JobFolder
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.text import how_to_ask
from gemma_keras_tune_ui.pages.result import at_work as at_work_module
from gemma_keras_tune_ui.pages.result.at_work import ExportState
from gemma_keras_tune_ui.pages.result.export_size import export_bytes
from gemma_keras_tune_ui.words import export as words
from tests.support.jobs import train_tiny
from tests.support.pages import only, until, wait_for
from tests.ui.pages.test_runs import listed, run_of, table

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_export_s_stages_are_known_by_its_events() -> None:
    state, seen = ExportState(), []
    for event in (
        RunStarted(name="export"),
        Progress(stage="export", done=10, total=40),
        Note(message="Checking the hf artifact in a fresh process."),
        RunStarted(name="export"),
        RunEnded(status="done"),
    ):
        state.hear(event.kind, event.model_dump())
        seen.append((state.stage, state.share, state.has_ended))
    assert seen == [
        *((0, None, False), (1, 0.25, False), (2, None, False), (0, None, False)),
        (0, None, True),
    ]


def exported(
    app: FastAPI, name: str, *, recipe: dict[str, Any] | None = None, **lineage: Any
) -> RunFolder:
    """A trained run with an adapter that was exported."""
    folder = run_of(app, name, RunEnded(status="done"))
    if recipe is not None:
        folder.recipe_json.write_text(json.dumps(recipe))
    folder.adapter.mkdir()
    made = folder.artifacts / "peft"
    made.mkdir(parents=True)
    (made / "parity.json").write_text(json.dumps({"passed": True, "greedy_equal": True}))
    (made / "lineage.json").write_text(json.dumps(lineage))
    return folder


async def test_the_code_names_the_base_model_and_asks_as_trained(app: FastAPI, ann: User) -> None:
    data = {"path": "/x.csv", "task": "instruction", "prompt_format": 'Say "{prompt}"\nnow'}
    recipe = {"schema": 1, "name": "x", "data": data, "model": {"preset": "demo"}}
    artifact = {"base_on_hub": "google/gemma-3-1b-it", "stop_ids": [1, 106]}
    folder = exported(app, "named", recipe=recipe, artifact=artifact)
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/export")
    await until(ann, how_to_ask.INSTALL["peft"])
    await ann.should_see('AutoModelForCausalLM.from_pretrained("google/gemma-3-1b-it")')
    await ann.should_see(f'"content": "Say \\"{how_to_ask.YOUR_TEXT}\\"\\nnow"')
    await ann.should_see("max_new_tokens=64, eos_token_id=[1, 106])")
    await ann.should_not_see(how_to_ask.make_base("demo"))
    checks = table(ann, words.PARITY)
    assert [one["label"] for one in checks.columns] == list(words.CHECK_COLUMNS)


async def test_a_base_without_an_address_is_made_a_folder_of_first(app: FastAPI, ann: User) -> None:
    folder = exported(app, "homemade", base={"name": "demo"}, artifact={"base_on_hub": None})
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/export")
    await until(ann, words.NEEDS_BASE.format(name="demo"))
    await ann.should_see(how_to_ask.make_base("demo"))
    await ann.should_see(f'AutoModelForCausalLM.from_pretrained("{how_to_ask.BASE_FOLDER}")')


async def test_one_format_is_recommended_and_only_it_has_a_number_format(
    app: FastAPI, ann: User
) -> None:
    folder = exported(app, "recommended")
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/export")
    await until(ann, words.RECOMMENDED)
    await ann.should_see(marker="dtype-hf")
    await ann.should_not_see(marker="dtype-peft")


async def test_the_size_is_told_before_and_follows_the_number_format(
    app: FastAPI, ann: User
) -> None:
    folder = exported(app, "sized")
    (folder.adapter / "adapter_model.safetensors").write_bytes(b"x" * 7_600_000)
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/export")
    await until(ann, words.RECOMMENDED)
    # 268,098,176 numbers of four bytes or two, and 20 MB of tokenizer
    assert only(ann, ui.label, "size-hf").text == words.ABOUT.format(size="1.09\u00a0GB")
    assert only(ann, ui.label, "size-peft").text == words.ABOUT.format(size="27.6\u00a0MB")
    only(ann, ui.select, "dtype-hf").value = "bfloat16"
    assert only(ann, ui.label, "size-hf").text == words.ABOUT.format(size="556\u00a0MB")
    foreign = load_recipe("spam_classifier", {"model.preset": "hf://somebody/model"})
    assert export_bytes(folder, foreign, dtype="float32") is None


@pytest.mark.parametrize(("task", "is_table"), [("instruction", True), ("text", False)])
async def test_who_needs_no_code_is_led_to_the_table_first(
    app: FastAPI, ann: User, task: str, is_table: bool
) -> None:
    recipe = {"schema": 1, "name": "x", "data": {"path": "/x.csv", "task": task}}
    folder = exported(app, f"no-code-{task}", recipe=recipe)
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/export")
    await until(ann, words.UNPACK)
    links = [one.props.get("href") for one in ann.find(ui.button).elements]
    assert (f"/runs/{folder.id}/table" in links) is is_table


@pytest.mark.parametrize("has_ended", [False, True])
async def test_work_is_named_as_a_reason_only_while_the_page_tells_of_it(
    app: FastAPI, ann: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_ended: bool
) -> None:
    folder, job = exported(app, f"busy-{has_ended}"), JobFolder(tmp_path)
    await listed(app, folder)
    with EventWriter(job.events, 1) as tell:
        tell(RunStarted(name="export"))
        if has_ended:  # the queue comes to know it a little later
            tell(RunEnded(status="done"))
    at_work = SimpleNamespace(id="one", kind="export", state="running", started_at=None)

    async def job_on_run(*_: Any) -> Any:
        return at_work

    monkeypatch.setattr(at_work_module, "job_on_run", job_on_run)
    monkeypatch.setattr(at_work_module, "folder_of_job", lambda *_: job)
    await ann.open(f"/runs/{folder.id}/export")
    await ann.should_see(words.MAKE_TEXT)
    await wait_for(lambda: not only(ann, ui.button, "export-hf").enabled)
    if has_ended:
        await ann.should_not_see(words.BLOCKED)
        await ann.should_not_see(words.MAY_LEAVE)
    else:
        await ann.should_see(words.BLOCKED)
        await ann.should_see(words.MAY_LEAVE)


@pytest.mark.slow
async def test_an_export_says_what_it_does_and_no_more_once_it_is_done(
    app: FastAPI, ann: User
) -> None:
    folder = await asyncio.to_thread(train_tiny, app.state.settings.root, "tried")
    await listed(app, folder)
    await ann.open("/runs/tried/export")
    await until(ann, words.NONE)
    await ann.should_not_see(words.MAY_LEAVE)
    ann.find(marker="export-hf").click()
    button = only(ann, ui.button, "export-hf")
    await wait_for(lambda: not button.enabled)
    await ann.should_see(words.MAY_LEAVE)
    stage = only(ann, ui.label, "at-work")
    check = words.STAGE.format(number="3", total="3", stage=words.STAGES[2])
    await wait_for(lambda: stage.text == check, within_s=120)
    await until(ann, words.PASSED, within_s=120)
    await wait_for(lambda: ann_sees_no(ann, words.MAY_LEAVE))
    again = only(ann, ui.button, "export-hf")
    await wait_for(lambda: again.enabled)
    await ann.should_see(words.AGAIN)


@pytest.mark.slow
async def test_an_export_that_fails_says_why(app: FastAPI, ann: User) -> None:
    folder = exported(app, "damaged")  # its adapter has no files
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/export")
    ann.find(marker="export-peft").click()
    await until(ann, words.EXPORT_FAILED.partition(" {why}")[0], within_s=120)
    await wait_for(lambda: ann_sees_no(ann, words.MAY_LEAVE))


def ann_sees_no(user: User, text: str) -> bool:
    assert user.client is not None
    found = [one for one in user.client.elements.values() if getattr(one, "text", "") == text]
    return not any(all(part.visible for part in [one, *one.ancestors()]) for one in found)

"""Setting a run up: from the data to the start."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import recipe_keys
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.pages.configure.draft import Draft, Drafts, default_of
from gemma_keras_tune_ui.pages.configure.fields import field_of, keys_of
from gemma_keras_tune_ui.pages.configure.page import PRESETS
from gemma_keras_tune_ui.pages.configure.picture import Picture
from gemma_keras_tune_ui.words import configure as words
from tests.support.pages import until, upload

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHIPPED = "/configure?data=shipped:spam_train.csv"


def draft(**settings: Any) -> tuple[Draft, list[int]]:
    told: list[int] = []
    return Draft(settings, lambda: told.append(1)), told


def field(user: User, key: str) -> Any:
    (found,) = user.find(marker=f"field-{key}").elements
    return found


async def test_a_draft_holds_only_what_somebody_chose() -> None:
    made, told = draft(name="mine")
    made.set("train.epochs", 5)
    made.update({"model.lora.rank": 4, "train.patience": 2})
    assert made.settings == {
        "name": "mine", "train": {"epochs": 5, "patience": 2}, "model": {"lora": {"rank": 4}},
    }  # fmt: skip
    assert (made.get("train.epochs"), made.get("train.seed")) == (5, 0)
    made.update({"train.epochs": 2, "model.lora.rank": 8, "train.patience": None})
    assert made.settings == {"name": "mine"}, "what is the default again is left out"
    assert len(told) == 3


async def test_every_setting_has_a_field_its_default_and_a_help_text() -> None:
    sections = ("data", "model", "model.lora", "train", "mesh", "evaluate")
    keys = {key for section in sections for key in keys_of(section)}
    elsewhere = {
        "name", "schema", "data.path", "data.validation_path", "data.test_path", "data.task",
        "data.columns", "model.preset", "export",
    }  # fmt: skip
    every = {key for key in recipe_keys() if not key.startswith(("export.", "data.columns."))}
    assert every - elsewhere - set(sections) <= keys
    for key in keys:
        assert field_of(key).description, key
    whole = Recipe.model_validate({"name": "x", "data": {"path": "a", "task": "text"}})
    assert default_of("train.learning_rate") == whole.train.learning_rate
    assert default_of("model.lora.targets") == ["all-linear"]


async def test_drafts_are_kept_for_each_person_and_the_oldest_goes_first() -> None:
    kept = Drafts()
    for number in range(1001):
        kept.keep((str(number), "w"), {"name": str(number)})
    assert kept.get(("0", "w")) is None and kept.get(("1", "w")) == {"name": "1"}


@pytest.mark.parametrize("name", PRESETS)
async def test_a_preset_is_a_valid_recipe(name: str) -> None:
    made, _ = draft(name="x", data={"path": "a", "task": "text"})
    made.update(PRESETS[name])
    Recipe.model_validate_json(json.dumps(made.settings))


async def test_the_page_asks_for_data_first(ann: User) -> None:
    await ann.open("/configure")
    await until(ann, words.PLAN_NO_DATA)
    (start,) = ann.find(marker="start").elements
    assert not start.enabled  # type: ignore[attr-defined]


async def test_settings_are_refused_beside_their_field_and_kept(ann: User) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    field(ann, "train.epochs").value = "0"
    for _ in range(50):
        if field(ann, "train.epochs").error:
            break
        await asyncio.sleep(0.1)
    assert "greater than or equal to 1" in field(ann, "train.epochs").error
    (start,) = ann.find(marker="start").elements
    assert not start.enabled  # type: ignore[attr-defined]
    field(ann, "train.epochs").value = "many"
    await until(ann, words.PLAN_FIX)
    await ann.open("/configure")
    assert field(ann, "train.epochs").value == "many", "a reload loses nothing"
    field(ann, "train.epochs").value = "3"
    await until(ann, words.PLAN_STEPS)
    assert not field(ann, "train.epochs").error


async def test_data_that_a_run_would_refuse_can_not_be_started_with(ann: User) -> None:
    rows = "".join(f"hello number {n} there,{'ab'[n % 2]}\n" for n in range(60))
    id = await upload(ann, f"text,label\n{rows},b\n", "gap.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, "EMPTY_TEXT")  # what its columns are was guessed
    await ann.open(f"/configure?data=dataset:{id}")
    await until(ann, words.REFUSED)
    await ann.should_see("EMPTY_TEXT")
    await ann.should_not_see("data.bad_rows =")
    (start,) = ann.find(marker="start").elements
    assert not start.enabled  # type: ignore[attr-defined]
    ann.find(marker="remedy").click()
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    assert start.enabled  # type: ignore[attr-defined]
    await ann.should_not_see(words.REFUSED)


async def test_form_and_file_say_the_same_both_ways(ann: User) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    field(ann, "train.learning_rate").value = "0.001"
    (toml,) = ann.find(marker="toml").elements
    for _ in range(50):
        if "learning_rate = 0.001" in toml.value:  # type: ignore[attr-defined]
            break
        await asyncio.sleep(0.1)
    text = toml.value.replace("0.001", "0.002") + '\n[model.lora]\ntargets = ["q_proj"]\n'  # type: ignore[attr-defined]
    toml.value = text  # type: ignore[attr-defined]
    ann.find(marker="take-toml").click()
    await asyncio.sleep(1)
    assert field(ann, "train.learning_rate").value == "0.002"
    assert field(ann, "model.lora.targets").value == ["q_proj"]
    toml.value = "name = "  # type: ignore[attr-defined]
    ann.find(marker="take-toml").click()
    for _ in range(50):
        if any("no valid TOML" in one for one in ann.notify.messages):
            break
        await asyncio.sleep(0.1)
    assert any("no valid TOML" in one for one in ann.notify.messages)


async def test_the_picture_colours_what_is_trained(ann: User) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    assert isinstance(Picture, type)
    field(ann, "model.lora.targets").value = ["q_proj", "up_proj"]
    await asyncio.sleep(0.5)
    parts = {one.text: one for one in ann.find(ui.label).elements if "gkt-part" in one.classes}
    trained = {name for name, one in parts.items() if "gkt-trained" in one.classes}
    assert trained == {"q_proj", "up_proj", words.TRAINED}


async def test_two_clicks_on_start_make_one_run(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take_nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Queue, "claim", take_nothing)
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    field(ann, "name").value = "started-here"
    await asyncio.sleep(0.5)
    root: Path = app.state.settings.root
    (start,) = ann.find(marker="start").elements
    for _ in range(100):
        if start.enabled:  # type: ignore[attr-defined]
            break
        await asyncio.sleep(0.1)
    before = set((root / "runs").glob("*"))
    ann.find(marker="start").click()
    ann.find(marker="start").click()
    for _ in range(100):
        if set((root / "runs").glob("*")) - before:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    (made,) = set((root / "runs").glob("*")) - before
    jobs = (await ann.http_client.get(f"/api/v1/jobs?run={made.name}")).json()["items"]
    assert [job["kind"] for job in jobs] == ["train"]
    whole = (await ann.http_client.get(f"/api/v1/jobs/{jobs[0]['id']}")).json()
    assert whole["args"]["recipe"]["name"] == "started-here"
    assert whole["args"]["ignore_plan"] is False

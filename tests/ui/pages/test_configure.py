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
from gemma_keras_tune_ui.pages.configure import models, plan_view
from gemma_keras_tune_ui.pages.configure.draft import Draft, Drafts, Kept, default_of
from gemma_keras_tune_ui.pages.configure.fields import field_of, keys_of
from gemma_keras_tune_ui.pages.configure.names import name_for
from gemma_keras_tune_ui.pages.configure.picture import Picture
from gemma_keras_tune_ui.pages.configure.presets import PRESETS
from gemma_keras_tune_ui.words import configure as words
from gemma_keras_tune_ui.words import data as data_words
from tests.support.pages import field, only, until, upload, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHIPPED = "/configure?data=shipped:spam_train.csv"


@pytest.fixture(autouse=True)
def no_drafts(app: FastAPI) -> None:
    app.state.drafts = Drafts()


def draft(**settings: Any) -> tuple[Draft, list[int]]:
    told: list[int] = []
    return Draft(Kept(settings), lambda: told.append(1)), told


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
        kept.keep((str(number), "w"), Kept({"name": str(number)}))
    assert kept.get(("0", "w")) is None and kept.get(("1", "w")) == Kept({"name": "1"})


async def test_what_was_raised_is_known_until_it_is_changed_by_hand_or_taken_back() -> None:
    made, _ = draft(name="mine")
    made.choose({"model.lora.rank": 16})
    assert made.kept.may_raise
    made.take_more({"train.epochs": 10, "train.batch_tokens": 512})
    assert made.raised == {"train.epochs": (2, 10), "train.batch_tokens": (2048, 512)}
    assert (made.get("train.epochs"), made.usual("train.epochs")) == (10, 2)
    assert not made.kept.may_raise, "once is enough"
    made.set("train.epochs", 7)
    assert made.raised.keys() == {"train.batch_tokens"} and made.usual("train.epochs") == 7
    made.take_back()
    assert made.settings == {
        "name": "mine",
        "train": {"epochs": 7},
        "model": {"lora": {"rank": 16}},
    }
    made.choose(PRESETS["effort"]["balanced"])
    made.take_more({"train.epochs": 10})
    made.choose(PRESETS["effort"]["thorough"])
    assert made.get("train.epochs") == 5 and not made.raised


async def test_steps_that_somebody_chose_are_not_raised() -> None:
    made, _ = draft(name="mine")
    made.choose({"train.epochs": 5})
    made.set("model.lora.rank", 4)
    assert made.kept.may_raise
    made.set("train.epochs", 2)
    assert not made.kept.may_raise


async def test_other_data_takes_back_what_was_raised_and_news_about_the_same_are_taken_over() -> (
    None
):
    made, told = draft(name="mine")
    made.choose_data("dataset:a", {"task": "text"})
    made.take_more({"train.epochs": 10})
    made.set("data.max_length", 64)
    made.choose_data("dataset:a", {"task": "text"})
    assert len(told) == 3, "nothing is new"
    made.choose_data("dataset:a", {"task": "text", "bad_rows": "skip"})
    data = {"path": "dataset:a", "task": "text", "max_length": 64, "bad_rows": "skip"}
    assert made.settings["data"] == data and made.get("train.epochs") == 10
    made.choose_data("dataset:b", {"task": "chat"})
    data = {"path": "dataset:b", "task": "chat", "max_length": 64}
    assert made.settings == {"name": "mine", "data": data}, "the length of rows is the run's"
    assert made.kept.may_raise
    made.choose_data("dataset:c", {"task": "chat", "max_length": 96})
    assert made.get("data.max_length") == 64
    made.set("data.max_length", 96)
    made.choose_data("dataset:d", {"task": "chat"})
    assert made.get("data.max_length") == 512, "what was said of other data isn't taken along"
    made.choose_data("dataset:c", {"task": "chat", "max_length": 96})
    made.set("data.max_length", 512)
    made.choose_data("dataset:e", {"task": "chat", "max_length": 128})
    assert made.get("data.max_length") == 512


async def test_settings_of_a_recipe_from_elsewhere_go_before_what_was_said_of_the_data() -> None:
    own = {"path": "mails.csv", "task": "text", "max_length": 64}
    for begun in (own, {key: own[key] for key in own if key != "path"}):
        made, _ = draft(name="mine", data=begun)
        made.choose_data("dataset:a", {"task": "chat", "bad_rows": "skip"})
        said = {"path": "dataset:a", "task": "text", "max_length": 64, "bad_rows": "skip"}
        assert made.settings["data"] == said


@pytest.mark.parametrize("group", PRESETS)
async def test_a_preset_is_a_valid_recipe_and_takes_the_place_of_the_others(group: str) -> None:
    made, _ = draft(name="x", data={"path": "a", "task": "text"})
    for settings in PRESETS[group].values():
        made.update(settings)
        Recipe.model_validate_json(json.dumps(made.settings))
        assert {key: made.get(key) for key in settings} == settings
        assert settings.keys() == next(iter(PRESETS[group].values())).keys(), "none is left over"


async def test_the_default_settings_are_presets() -> None:
    made, _ = draft(name="x")
    for group, name in (("effort", "balanced"), ("memory", "usual")):
        assert {key: default_of(key) for key in PRESETS[group][name]} == PRESETS[group][name]
    made.update(PRESETS["effort"]["quick"])
    made.update(PRESETS["effort"]["balanced"])
    assert made.settings == {"name": "x"}


async def test_the_page_asks_for_data_first(ann: User) -> None:
    await ann.open("/configure")
    await until(ann, words.PLAN_NO_DATA)
    start = only(ann, ui.button, "start")
    assert not start.enabled
    assert only(ann, ui.label, "plan-short").text == words.PLAN_NO_DATA


async def test_settings_are_refused_beside_their_field_and_kept(ann: User) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    short = only(ann, ui.label, "plan-short")
    assert short.text.startswith(f"{words.PLAN_FITS['fits']} Steps: ")
    field(ann, "train.epochs").value = "0"
    await wait_for(lambda: field(ann, "train.epochs").error)
    assert "greater than or equal to 1" in field(ann, "train.epochs").error
    start = only(ann, ui.button, "start")
    assert not start.enabled
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
    await ann.should_see("Row 62 of gap.csv: Column 'text' is empty.")
    await ann.should_see(data_words.CODES.format(codes="EMPTY_TEXT"))
    await ann.should_not_see("data.csv")
    await ann.should_not_see("data.bad_rows =")
    start = only(ann, ui.button, "start")
    assert not start.enabled
    ann.find(marker="remedy").click()
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    assert start.enabled
    await ann.should_not_see(words.REFUSED)


async def test_what_mends_the_data_is_kept_with_it_for_the_next_run(ann: User) -> None:
    rows = "".join(f"hello number {n} there,{('cats', 'horses')[n % 2]}\n" for n in range(60))
    odd = f",cats\n{'very ' * 600}long,cats\nhello horse,horse\n"
    id = await upload(ann, f"text,label\n{rows}{odd}", "odd.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, "SIMILAR_LABELS")
    await ann.open(f"/configure?data=dataset:{id}")
    await until(ann, words.REFUSED)
    await ann.should_see(data_words.CODES.format(codes="EMPTY_TEXT, TOO_LONG"))
    await ann.should_not_see("data.too_long")
    ann.find(data_words.SKIP_BAD_NOW).click()
    ann.find(data_words.LONG_ROWS["drop"]).click()
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    alike = "Labels that look alike: 'horse' (1 row), 'horses' (30 rows)."
    await ann.should_see(words.LABELS_APART.format(what=alike))
    ann.find(data_words.COUNT_AS.format(label="horse", meant="horses")).click()
    await until(ann, words.PLANNING)
    await until(ann, words.PLAN_FITS["fits"].split(".")[0])
    await ann.should_not_see(marker="labels")
    kept = (await ann.http_client.get(f"/api/v1/datasets/{id}")).json()["settings"]
    same = {"horse": "horses"}
    assert (kept["bad_rows"], kept["too_long"], kept["same_labels"]) == ("skip", "drop", same)
    assert kept["columns"] == {"text": "text", "label": "label"}
    assert field(ann, "data.same_labels").value == "horse = horses"
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, data_words.COUNTS_AS.format(label="horse", meant="horses"))
    ann.find(marker="apart-again").click()
    await until(ann, "SIMILAR_LABELS")
    await ann.open(f"/configure?data=dataset:{id}")
    assert field(ann, "data.same_labels").value == "", "what was taken back there is here too"


async def test_a_table_of_labels_is_written_line_by_line(ann: User) -> None:
    await ann.open(SHIPPED)
    field(ann, "data.same_labels").value = "spm = spam\n hm=ham\na=b = spam\n"
    toml = only(ann, ui.textarea, "toml")
    await wait_for(lambda: "hm = " in toml.value)
    assert 'spm = "spam"\nhm = "ham"\n"a=b" = "spam"' in toml.value
    field(ann, "data.same_labels").value = "spm"
    await wait_for(lambda: field(ann, "data.same_labels").error)
    assert "not empty" in field(ann, "data.same_labels").error


async def test_last_settings_are_told_as_such_and_can_be_left(ann: User) -> None:
    await ann.open(SHIPPED)
    await ann.should_not_see(words.LAST)
    field(ann, "train.epochs").value = "3"
    await ann.open("/configure")
    await ann.should_see(words.LAST)
    assert field(ann, "train.epochs").value == "3"
    ann.find(marker="reset").click()
    await wait_for(lambda: field(ann, "train.epochs").value == "2")
    await ann.should_not_see(words.LAST)
    await until(ann, words.PLAN_STEPS)
    toml = only(ann, ui.textarea, "toml").value
    assert 'path = "shipped:spam_train.csv"' in toml, "the data stays"


async def test_the_model_that_is_here_is_recommended_and_comes_first(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "is_here", lambda name: name == "gemma3_instruct_1b")
    await ann.open("/configure")
    (best,) = ann.find(marker="recommended").elements
    card = next(one for one in best.ancestors() if "gkt-card" in one.classes)
    assert card.parent_slot is not None and card.parent_slot.children[0] is card
    assert words.IS_HERE in {one.text for one in card.descendants() if isinstance(one, ui.label)}
    await ann.should_see(words.NEEDS_ACCOUNT)
    await ann.should_see(words.NOT_INSTALLED)  # nobody fetches the demo's


async def test_form_and_file_say_the_same_both_ways(ann: User) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    field(ann, "train.learning_rate").value = "0.001"
    toml = only(ann, ui.textarea, "toml")
    await wait_for(lambda: "learning_rate = 0.001" in toml.value)
    text = toml.value.replace("0.001", "0.002") + '\n[model.lora]\ntargets = ["q_proj"]\n'
    toml.value = text
    ann.find(marker="take-toml").click()
    await wait_for(lambda: field(ann, "train.learning_rate").value == "0.002")
    assert field(ann, "model.lora.targets").value == ["q_proj"]
    toml.value = "name = "
    ann.find(marker="take-toml").click()
    await wait_for(lambda: any("no valid TOML" in one for one in ann.notify.messages))


async def test_a_recipe_of_another_machine_keeps_the_data_that_are_chosen(ann: User) -> None:
    text = 'name = "mine"\n[data]\npath = "my/mails.csv"\ntask = "text"\nmax_length = 64\n'
    for address, told, path in (
        ("/configure", words.TOML_CHOOSE_DATA, None),
        (SHIPPED, words.TOML_DATA_STAYS, "shipped:spam_train.csv"),
    ):
        ann.notify.messages.clear()
        await ann.open(address)
        only(ann, ui.textarea, "toml").value = text
        ann.find(marker="take-toml").click()
        await wait_for(lambda: ann.notify.messages)
        assert ann.notify.messages == [told]
        assert only(ann, ui.select, "data").value == path
        assert field(ann, "data.max_length").value == "64"
        await ann.should_not_see("data.path: ")


async def test_what_is_wrong_in_a_part_that_is_closed_is_told_at_the_start(ann: User) -> None:
    await ann.open(SHIPPED)
    only(ann, ui.textarea, "toml").value = (
        'name = "mine"\n[data]\npath = "shipped:spam_train.csv"\ntask = "text"\n'
        "[train]\nweight_decay = -3\n"
    )
    ann.find(marker="take-toml").click()
    await until(ann, "train.weight_decay: Input should be greater than or equal to 0")


async def test_the_picture_colours_what_is_trained(ann: User) -> None:
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    assert isinstance(Picture, type)
    field(ann, "model.lora.targets").value = ["q_proj", "up_proj"]
    await asyncio.sleep(0.5)
    parts = {one.text: one for one in ann.find(ui.label).elements if "gkt-part" in one.classes}
    trained = {name for name, one in parts.items() if "gkt-trained" in one.classes}
    assert trained == {"q_proj", "up_proj", words.TRAINED}


@pytest.mark.usefixtures("nothing_begins")
async def test_two_clicks_on_start_make_one_run(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_view, "_PATIENCE_S", 0.1)  # no plan will come
    await ann.open(SHIPPED)
    await until(ann, words.PLAN_STEPS)
    assert field(ann, "name").value == "spam_train"
    root: Path = app.state.settings.root
    start = only(ann, ui.button, "start")
    await wait_for(lambda: start.enabled)
    before = set((root / "runs").glob("*"))
    ann.find(marker="start").click()
    ann.find(marker="start").click()
    await wait_for(lambda: set((root / "runs").glob("*")) - before)
    await asyncio.sleep(0.5)
    (made,) = set((root / "runs").glob("*")) - before
    jobs = (await ann.http_client.get(f"/api/v1/jobs?run={made.name}")).json()["items"]
    assert [job["kind"] for job in jobs] == ["train"]
    whole = (await ann.http_client.get(f"/api/v1/jobs/{jobs[0]['id']}")).json()
    assert whole["args"]["recipe"]["name"] == "spam_train"
    assert whole["args"]["ignore_plan"] is False
    await ann.open(SHIPPED)
    await wait_for(
        lambda: field(ann, "name").value == "spam_train-2"
    )  # no two runs are called the same
    await ann.should_not_see(words.LAST)
    ann.find(marker="model-gemma3_instruct_1b").click()
    await wait_for(lambda: field(ann, "name").value == "spam_train-gemma3_instruct_1b")
    field(ann, "name").value = "mine"
    ann.find(marker="model-demo").click()
    await until(ann, words.PLAN_STEPS)
    assert field(ann, "name").value == "mine", "who names a run is left alone"


@pytest.mark.parametrize(
    ("data", "preset", "name"),
    [
        ("Anfragen M\u00e4rz (neu)", "demo", "Anfragen-Marz-neu"),
        ("\u554f\u3044\u5408\u308f\u305b", "demo", "my-run"),
        ("mails", "hf://somebody/gemma-3-1b", "mails-gemma-3-1b"),
        ("mails", "model:0123", "mails"),
        ("x" * 80, "gemma3_instruct_12b_text", "x" * 40 + "-gemma3_instruct_12b"),
    ],
)
async def test_a_run_is_named_after_its_data_and_model(data: str, preset: str, name: str) -> None:
    found = name_for(data, preset)
    assert found == name
    Recipe.model_validate({"name": f"{found}-99", "data": {"path": "a", "task": "text"}})

"""The list of runs, one run at work, and several compared."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User
from sqlalchemy import insert, select

from gemma_keras_tune.control_file import read_commands
from gemma_keras_tune.data_codes import CODES
from gemma_keras_tune.event_types import (
    ControlApplied,
    ControlRefused,
    Event,
    Progress,
    RunEnded,
    RunStarted,
    Sample,
    StageStarted,
    Step,
    Validation,
    Warned,
)
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune.job_folder import JobFolder
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import RunFolder, new_run, open_for_writing
from gemma_keras_tune_ui.live.standing import Standing
from gemma_keras_tune_ui.pages.runs import run
from gemma_keras_tune_ui.store.tables import jobs, users
from gemma_keras_tune_ui.words import data as data_words
from gemma_keras_tune_ui.words import home as states
from gemma_keras_tune_ui.words import runs as words
from tests.support.pages import HEADERS, field, only, until, upload, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = '<img src=x onerror="alert(1)">'


def step(number: int, *, left: float | None = None) -> Step:
    return Step(
        step=number, total_steps=20, epoch=0.5, loss=3.0 / number, tokens=8, answer_tokens=2,
        learning_rate=1e-4, grad_norm=1.0, seconds=0.5, tokens_per_s=16.0, seconds_left=left,
    )  # fmt: skip


def run_of(app: FastAPI, name: str, *events: Event, **changes: Any) -> RunFolder:
    folder = new_run(app.state.settings.root, name)
    recipe = load_recipe("spam_classifier", {"name": name, **changes})
    folder.recipe_json.write_text(recipe.to_json())
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
        for event in (RunStarted(name=name), *events):
            tell(event)
    return folder


async def known_job(
    app: FastAPI, run: RunFolder, kind: str, number: int, *, state: str = "done", **args: Any
) -> JobFolder:
    """A job on the run that the queue knows, and nobody works on; its folder is empty."""
    root, parts, now = app.state.settings.root, app.state.parts, datetime.now(UTC)
    job = JobFolder(root / "jobs" / secrets.token_hex(16))
    job.path.mkdir(parents=True)
    async with parts.store.begin() as connection:
        user = (await connection.execute(select(users.c.id))).scalars().first()
        await connection.execute(
            insert(jobs).values(
                id=job.id,
                workspace_id=parts.identity.workspace_id,
                user_id=user,
                number=number,
                kind=kind,
                run_id=run.id,
                args=args,
                args_hash="0" * 64,
                pool="device",
                state=state,
                created_at=now,
                started_at=now,
                ended_at=None if state in ("queued", "running") else now,
            )
        )
    return job


async def listed(app: FastAPI, *folders: RunFolder) -> None:
    """Returns when the server has seen the runs."""
    await app.state.parts.runs.sweep(all_of_them=True)


def table(user: User, label: str) -> ui.table:
    assert user.client is not None
    tables = [one for one in user.client.elements.values() if isinstance(one, ui.table)]
    return next(one for one in tables if one.props["aria-label"] == label)


async def test_another_workspace_s_or_no_run_is_told_so(ann: User) -> None:
    await ann.open("/runs/no-such-run")
    await ann.should_see("The run doesn't exist")


async def test_a_working_run_is_steered_and_its_answers_are_shown(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "live", step(1))
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
        tell(RunStarted(resumed_from=1))
        tell(StageStarted(stage="training"))
        tell(step(2))
        await listed(app, folder)
        await ann.open(f"/runs/{folder.id}")
        await until(ann, words.STEP_OF.format(step=2, total=20))
        ann.find(marker="control-pause").click()
        await wait_for(lambda: len(read_commands(folder.control)[0]) == 1)
        (command,) = read_commands(folder.control)[0]
        assert (command.command, command.by) == ("pause", "ann")
        await wait_for(lambda: words.SENT["pause"] in ann.notify.messages)
        tell(ControlApplied(id=command.id, command="pause", step=2))
        await until(ann, words.PAUSED)
        await ann.should_see(states.STATES["paused"])
        ann.find(marker="control-finish").click()
        await ann.should_see(words.FINISH_TEXT)
        ann.find(marker="confirm").click()
        await wait_for(lambda: len(read_commands(folder.control)[0]) == 2)
        finish = read_commands(folder.control)[0][1]
        assert (finish.key, finish.value) == ("end_step", 3)
        tell(ControlRefused(id=finish.id, command="set", reason="too late", step=2))
        tell(Sample(step=2, prompt="hello", text="world"))
        tell(RunEnded(status="stopped", step=2))
    await until(ann, words.STOPPED)
    await ann.should_see(marker="control-go-on")
    assert any("too late" in one for one in ann.notify.messages)


async def test_a_run_at_work_says_all_the_time_what_it_does(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "telling")
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
        await listed(app, folder)
        await ann.open(f"/runs/{folder.id}")
        await until(ann, words.STARTING)
        for event, *said in (
            (StageStarted(stage="model"), words.STAGES["model"]),
            (StageStarted(stage="training"), words.FIRST_STEP),
            (step(1), words.STAGES["training"], words.EPOCH.format(share="50%", number=1)),
            (step(2, left=90.4), words.TRAINING_LEFT.format(time="1 min 30 s")),
            (Progress(stage="validation", done=0, total=0), words.STAGES["validation"]),
            (step(20, left=0.4), words.SAVING, words.NEARLY_DONE),
            (Progress(stage="evaluation", done=1, total=4, seconds_left=8.2), "8 s left"),
        ):
            tell(event)
            for text in said:
                await until(ann, text)
        await ann.should_not_see(words.TRAINING_LEFT.partition("{time} ")[2])


async def test_a_sentence_says_whether_it_goes_well_and_how_it_went(
    app: FastAPI, ann: User
) -> None:
    folder = run_of(app, "learning")
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
        await listed(app, folder)
        await ann.open(f"/runs/{folder.id}")
        await until(ann, words.TRENDS["early"])
        for number in range(1, 11):
            tell(step(number).model_copy(update={"epoch": number / 5}))
        await until(ann, words.TRENDS["learns"])
        for number, loss in ((5, 0.5), (10, 0.9)):
            tell(Validation(step=number, loss=loss, perplexity=2.0, tokens=9, best=number == 5))
        await until(ann, words.TRENDS["by_heart"])
        tell(RunEnded(status="done", step=10))
    await until(ann, words.TRENDS_ENDED["by_heart"])


async def test_a_wrong_value_is_refused_beside_it_and_the_present_one_is_told(
    app: FastAPI, ann: User
) -> None:
    folder = run_of(app, "typo", step(1))
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
        tell(RunStarted(resumed_from=1))
        tell(StageStarted(stage="training"))
        await listed(app, folder)
        await ann.open(f"/runs/{folder.id}")
        await until(ann, words.CHANGE)
        ann.find(marker="control-set").click()
        await ann.should_see("Now: 0.0001")
        value = only(ann, ui.input, "new-value")
        for wrong in ("fast", "0,0002", "2", ""):
            value.value = wrong
            ann.find(marker="dialog-yes").click()
            assert value.error == "Write a number, such as 0.0001 (> 0, \u2264 1)", wrong
        assert read_commands(folder.control)[0] == []
        value.value = "2e-5"
        ann.find(marker="dialog-yes").click()
        await wait_for(lambda: len(read_commands(folder.control)[0]) == 1)
        (command,) = read_commands(folder.control)[0]
        assert (command.key, command.value) == ("learning_rate", 2e-5)
        said = "From the next step on: Learning rate 0.00002."
        await wait_for(lambda: said in ann.notify.messages)
        tell(ControlApplied(id=command.id, command="set", step=1, key=command.key, value=2e-5))
        await until(ann, "after step 1: Learning rate 0.00002")
        ann.find(marker="control-set").click()
        await until(ann, "Now: 0.00002")


async def test_a_page_begins_with_no_news_and_is_left_when_its_run_is_gone(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, asked, queued = list[Any](), list[str](), list[Any]()
    start = run._Page.start

    async def kept(self: Any) -> None:
        pages.append(self)
        await start(self)
        queued.extend(self._news._calls)

    monkeypatch.setattr(run._Page, "start", kept)
    folder = run_of(app, "gone", step(1))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    (page,) = pages
    assert queued == [], "what the page says already is not sent again"
    await ann.should_see(words.STEP_OF.format(step=1, total=20))
    monkeypatch.setattr(page._live, "standing", Standing())
    monkeypatch.setattr(ui.navigate, "to", asked.append)
    await page._ask_again()
    assert asked == ["/runs"]


async def test_a_failed_run_says_why_without_the_server_s_paths(app: FastAPI, ann: User) -> None:
    root = app.state.settings.root
    ended = RunEnded(status="failed", code="LOSS_NAN", message=f"Look into {root}/runs/x/log.txt.")
    folder = run_of(app, "broken", step(1), ended)
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    await ann.should_see("LOSS_NAN")
    await ann.should_not_see(str(root))


def shown_links(user: User, run_id: str) -> set[str]:
    """Where the visible buttons of a run lead to."""
    buttons = [one for one in user.find(ui.button).elements if one.visible]
    found = {str(one.props.get("href", "")) for one in buttons}
    return {one for one in found if run_id in one}


async def test_a_run_that_failed_at_its_start_offers_another_way(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "early", RunEnded(status="failed", code="NEEDS_SPACE", message="Full."))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    await ann.should_see(words.TRY_AGAIN)
    await ann.should_not_see(words.RESUME_RUN)
    assert shown_links(ann, folder.id) == {f"/configure?run={folder.id}"}


async def test_a_run_that_failed_by_its_data_leads_to_the_repair(app: FastAPI, ann: User) -> None:
    long = "TOO_LONG (1x: data.csv:72): 1 of 9 rows is longer than 512 tokens. "
    message = long + CODES["TOO_LONG"].fix
    folder = run_of(app, "long", RunEnded(status="failed", code="TOO_LONG", message=message))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    await ann.should_see(words.REPAIR_DATA)
    await ann.should_not_see(words.TRY_AGAIN)
    await ann.should_see(data_words.FIXES_ELSEWHERE["TOO_LONG"])
    await ann.should_not_see("data.max_length")
    assert shown_links(ann, folder.id) == {f"/configure?run={folder.id}"}


async def test_a_finished_run_leads_on(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "ready", step(1), RunEnded(status="done", step=1))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    await ann.should_see(words.SEE_RESULT)
    parts = ("result", "playground", "table", "export")
    assert shown_links(ann, folder.id) == {f"/runs/{folder.id}/{part}" for part in parts}


async def test_the_settings_of_a_run_are_shown_as_a_recipe_that_begins_another(
    app: FastAPI, ann: User
) -> None:
    folder = run_of(app, "told", step(1), **{"train.learning_rate": 0.003})
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    ann.find(kind=ui.tab, content=words.RECIPE).click()
    await until(ann, "learning_rate = 0.003")
    await ann.should_see('path = "shipped:spam_train.csv"')
    await ann.should_see(words.RECIPE_FILE)
    await ann.should_see(words.RECIPE_COMMAND.format(run=folder.id))
    await ann.should_not_see(words.LINEAGE_FILE)
    assert f"/configure?run={folder.id}" in shown_links(ann, folder.id)


@pytest.mark.usefixtures("nothing_begins")
async def test_a_run_that_waits_can_be_begun_anew_with_a_change(ann: User) -> None:
    recipe = {"recipe_name": "spam_classifier", "set": {"name": "sweep", "train.epochs": 7}}
    wanted = {"kind": "train", "recipe": recipe}
    made = await ann.http_client.post("/api/v1/jobs", json=wanted, headers=HEADERS)
    run_id = made.json()["run"]
    await ann.open(f"/runs/{run_id}")
    await until(ann, words.ANOTHER)
    assert f"/configure?run={run_id}" in shown_links(ann, run_id)
    await ann.open(f"/configure?run={run_id}")
    assert field(ann, "train.epochs").value == "7"
    assert field(ann, "name").value == "sweep-2"


@pytest.mark.usefixtures("nothing_begins")
async def test_a_run_that_somebody_stopped_goes_on_with_its_job_or_is_given_up(
    app: FastAPI, ann: User
) -> None:
    async def stop_it() -> None:
        with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
            for event in (RunStarted(), step(1), RunEnded(status="stopped", step=1)):
                tell(event)
        await ann.http_client.post(f"/api/v1/jobs/{made['id']}/pause", headers=HEADERS)
        await ann.open(f"/runs/{folder.id}")
        await until(ann, words.STOPPED)

    async def becomes(state: str) -> None:
        for _ in range(100):
            (job,) = (await ann.http_client.get(f"/api/v1/jobs?run={folder.id}")).json()["items"]
            if job["state"] == state:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(job["state"])

    wanted = {"kind": "train", "recipe": {"recipe_name": "spam_classifier"}}
    made = (await ann.http_client.post("/api/v1/jobs", json=wanted, headers=HEADERS)).json()
    folder = RunFolder(app.state.settings.root / "runs" / made["run"])
    await stop_it()
    ann.find(marker="control-go-on").click()
    await becomes("queued")
    await stop_it()
    ann.find(marker="control-cancel").click()
    await ann.should_see(words.CANCEL_TEXT)
    ann.find(marker="confirm").click()
    await becomes("cancelled")


async def test_curves_for_experts_are_drawn_when_somebody_opens_them(
    app: FastAPI, ann: User
) -> None:
    folder = run_of(app, "curves", step(1), RunEnded(status="done", step=1))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    await ann.should_not_see(words.CHART_NORM_LABEL)
    more = only(ann, ui.expansion, "more-curves")
    charts = len(ann.find(marker="live-chart").elements)
    for is_open in (True, False, True):
        more.value = is_open
        assert len(ann.find(marker="live-chart").elements) == charts + 4
    (sheet,) = ann.find(words.CURVES_SHEET).elements
    address = str(sheet.props["href"])
    assert (await ann.http_client.get(address)).text.splitlines()[1].startswith("1,0.5,3.0,")
    plots = [one.figure for one in ann.find(kind=ui.plotly).elements]
    assert [
        one["data"][0]["y"] for one in plots if one["layout"]["yaxis"].get("type") == "log"
    ] == [[3.0]]


async def test_warnings_name_a_persons_rows_and_what_was_dealt_with_is_only_told(
    app: FastAPI, ann: User
) -> None:
    id = await upload(ann, "text,label\nhello,a\n", "mine.csv")
    left = Warned(code="EMPTY_TEXT", message="EMPTY_TEXT (1x: data.csv:22): It is empty.")
    also = Warned(code="EMPTY_TEXT", message="EMPTY_TEXT (1x: data.csv:3): It is empty.")
    twice = Warned(code="DUPLICATE_ROWS", message="DUPLICATE_ROWS (1x: data.csv:5): Twice.")
    data = {"data.path": str(app.state.settings.root / "datasets" / id / "data.csv")}
    unnamed = Warned(code="UNNAMED_COLUMN", message="UNNAMED_COLUMN: Column 5 has no name.")
    told = (also, left, left, unnamed, twice)
    folder = run_of(app, "warned", *told, **data, **{"data.test_path": None})
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    await until(ann, f"Row 22 of mine.csv: It is empty.\n{words.MORE_REMARKS_ONE}")
    await ann.should_not_see("Row 3 of mine.csv")
    shown = ann.find(marker="remark").elements
    kinds = [kind for one in shown for kind in one.classes if kind in ("gkt-info", "gkt-warning")]
    assert sorted(kinds) == ["gkt-info", "gkt-info", "gkt-warning"]
    texts = [one.text for one in ann.find(ui.label).elements if "Twice" in one.text]
    assert texts == ["Row 5 of mine.csv: Twice.\nDetails: DUPLICATE_ROWS"]


async def test_the_log_says_in_words_what_happened(app: FastAPI, ann: User) -> None:
    root = app.state.settings.root
    measured = Validation(step=1, loss=0.25, perplexity=1.3, tokens=9, best=True, accuracy=0.5)
    folder = run_of(
        app, "logged", StageStarted(stage="training"), step(1), measured,
        Warned(code="X", message=f"look into {root}/runs"),
        Warned(code="TRUNCATED", message="TRUNCATED (1x: data.csv:22): Too long a row."),
        Warned(code="FEW_ROWS", message="FEW_ROWS: Only 9."),
        ControlApplied(id="1", command="set", step=1, key="learning_rate", value=1e-4),
        RunEnded(status="done", step=1),
    )  # fmt: skip
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}")
    ann.find(words.LOG).click()
    await until(ann, words.LOG_STARTED)
    (log,) = ann.find(marker="log").elements
    lines = [line.partition("  ")[2] for line in log.props["text"].splitlines()]
    assert lines == [
        words.LOG_STARTED,
        words.STAGES["training"],
        "Measured after step 1: loss 0.25, accuracy 50.0% (the best so far)",
        lines[3],
        "Row 22: Too long a row.",
        "Warning: Only 9.",
        "Changed after step 1, as somebody asked: Learning rate 0.0001",
        words.DONE,
    ]
    assert lines[3].startswith("Warning: look into ") and str(root) not in lines[3]
    await ann.should_not_see(words.PROGRAM_LOG_TEXT)
    trained = await known_job(app, folder, "train", 9_000)
    trained.log.write_text("a fault of a program\n")
    await until(ann, "a fault of a program")

"""Answering a whole table: what is chosen and asked for, and what is told of the answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.event_types import Progress, RunEnded
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune.job_folder import JobFolder
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune_ui.pages.result import table as page
from gemma_keras_tune_ui.words import data as data_words
from gemma_keras_tune_ui.words import table as words
from tests.support.pages import only, until, upload, wait_for
from tests.ui.pages.test_runs import known_job, listed, run_of, table

pytestmark = pytest.mark.asyncio(loop_scope="module")


def trained(app: FastAPI, name: str, **data: Any) -> RunFolder:
    """A run that reads the column `message`, with the folder of an adapter that nobody loads."""
    changes = {f"data.{key}": value for key, value in data.items()}
    folder = run_of(app, name, RunEnded(status="done"), **changes)
    folder.adapter.mkdir()
    return folder


async def answering(
    app: FastAPI, run: RunFolder, number: int, state: str, result: dict[str, Any] | None
) -> JobFolder:
    """A job that answers a table with the run, as the queue knows it, and what came of it."""
    data = app.state.settings.root / "datasets" / ("0" * 32) / "data.csv"
    job = await known_job(app, run, "answer", number, state=state, data=str(data))
    if result is not None:
        job.result_json.write_text(json.dumps({"code": "", "message": "", **result}))
    return job


VALUE: dict[str, Any] = {
    "file": "answers.csv",
    "rows": 6,
    "answered": 3,
    "columns": ["label", "confidence", "doubtful", "remark (2)"],
    "counts": [{"answer": "spam", "rows": 2}, {"answer": "<b>ham", "rows": 1}],
    "not_answered": [
        {"code": "EMPTY_TEXT", "rows": 1},
        {"code": "MISSING_VALUE", "rows": 1},
        {"code": "BAD_MESSAGES", "rows": 1},
    ],
    "shortened": 0,
    "cut_off": 0,
    "guarded": 4,
    "doubtful": 1,
    "first": [
        {"row": 2, "asked": "Win", "answer": "spam", "confidence": 0.875, "remark": ""},
        {
            "row": 4,
            "asked": "?",
            "answer": "ham",
            "confidence": 0.5,
            "is_doubtful": True,
            "remark": "",
        },
        {"row": 3, "asked": "", "answer": None, "confidence": None, "remark": "is empty"},
    ],
}


@pytest.mark.parametrize(
    ("learned", "columns", "place"),
    [
        ("message", ["id", "message", "Message"], 1),
        ("message", ["id", "MESSAGE"], 1),
        ("message", ["Message", "MESSAGE"], None),
        ("message", ["mail"], 0),
        ("message", ["id", "mail"], None),
    ],
)
async def test_a_column_is_chosen_where_it_must_be_the_one(learned, columns, place) -> None:
    assert page.likely_column(columns, learned) == place


async def test_a_run_that_cannot_answer_a_table_says_why(app: FastAPI, ann: User) -> None:
    untrained = run_of(app, "untrained", RunEnded(status="done"))
    plain = trained(app, "plain", task="text", columns={})
    await listed(app, untrained, plain)
    await ann.open(f"/runs/{untrained.id}/table")
    await ann.should_see(words.NOT_TRAINED_TITLE)
    await ann.open(f"/runs/{plain.id}/table")
    await ann.should_see(words.PLAIN_TITLE)
    await ann.should_not_see(marker="table")


async def test_a_table_is_looked_at_and_asked_for_as_it_is_read(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(app, "asked")
    measured = {"expected": "ham", "predicted": "spam", "confidence": 0.7}
    folder.predictions.write_text(json.dumps(measured) + "\n")
    await listed(app, folder)
    text = "id;mail\n1;Grüße\n2;\n3;Schöne Grüße aus Köln\n"
    dataset = await upload(ann, text, "mails.csv", encoding="cp1252")
    asked: list[Any] = []

    async def submit(_: Any, wanted: Any) -> None:
        asked.append(wanted)
        if len(asked) == 1:
            raise TuneError("not now", code="JOB_INVALID")

    monkeypatch.setattr(page, "submit", submit)
    await ann.open(f"/runs/{folder.id}/table?data={dataset}")
    await until(ann, data_words.SAVED_AS.format(name=data_words.ENCODINGS["cp1252"]))
    await ann.should_not_see(marker="start")
    ann.find(marker="read-as").click()
    await until(ann, words.COLUMN_ASKED.format(name="“message”"))
    rows = table(ann, words.FIRST_ROWS).rows
    assert [row["c2"] for row in rows] == ["Grüße", "", "Schöne Grüße aus Köln"]
    said = {"rows": "1", "doubtful": "1", "wrong": "1", "rest": "0", "others": "0"}
    await until(ann, words.DOUBT_SAID.format(**said))
    only(ann, ui.number, "doubt-below").value = 60
    said |= {"doubtful": "0", "wrong": "0", "rest": "1", "others": "1"}
    await until(ann, words.DOUBT_SAID.format(**said))
    ann.find(marker="start").click()
    await wait_for(lambda: any(words.NO_COLUMN in one for one in ann.notify.messages))
    only(ann, ui.select, "column").value = 1
    await ann.should_not_see(words.COLUMN_ASKED.format(name="“message”"))
    ann.find(marker="start").click()
    await wait_for(lambda: len(asked) == 1)  # refused
    ann.find(marker="start").click()
    await wait_for(lambda: len(asked) == 2)  # taken
    await until(ann, words.STARTED)
    await ann.should_not_see(marker="start")
    path = app.state.settings.root / "datasets" / dataset / "data.csv"
    assert (asked[1].kind, asked[1].run) == ("answer", folder.id)
    assert asked[1].args == {
        "data": str(path),
        "column": "mail",
        "encoding": "cp1252",
        "doubt_below": 0.6,
    }


async def test_the_longest_answer_is_asked_for_where_answers_are_written(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"prompt": "message", "response": "reply"}
    folder = trained(app, "written", task="instruction", columns=columns)
    await listed(app, folder)
    asked: list[Any] = []

    async def submit(_: Any, wanted: Any) -> None:
        await asyncio.sleep(0.1)
        asked.append(wanted.args)

    monkeypatch.setattr(page, "submit", submit)
    await ann.open(f"/runs/{folder.id}/table")
    await until(ann, words.CHOOSE_TEXTS)
    only(ann, ui.select, "table").value = "shipped:spam_test.csv"
    await until(ann, words.COLUMN_FITS)
    only(ann, ui.number, "longest").value = 9
    start = ann.find(marker="start")
    start.click()
    start.click()  # as a hasty hand does
    await wait_for(lambda: bool(asked))
    await ann.should_not_see(marker="start")
    assert len(asked) == 1
    assert (asked[0]["column"], asked[0]["max_tokens"]) == ("message", 9)
    assert asked[0]["data"].endswith("/spam_test.csv")


async def test_what_became_of_the_rows_is_told_and_the_table_is_got_back(
    app: FastAPI, ann: User
) -> None:
    folder = trained(app, "told")
    await listed(app, folder)
    old = await answering(app, folder, 9_001, "done", {"status": "done", "value": VALUE})
    new = await answering(app, folder, 9_002, "done", {"status": "done", "value": VALUE})
    await ann.open(f"/runs/{folder.id}/table")
    said = "\n".join(
        [
            words.ANSWERED.format(answered="3", rows="6"),
            words.NOT_ANSWERED.format(reason=words.REASONS["EMPTY_TEXT"], count="2"),
            words.NOT_ANSWERED.format(reason=words.OTHER_REASON, count="1"),
            words.IN_THE_FILE.format(column="remark (2)"),
            words.DOUBTFUL.format(count="1", column="doubtful"),
            words.GUARDED.format(count="4"),
        ]
    )
    await ann.should_see(said)
    counts = table(ann, words.COUNTS).rows
    assert [[row[f"c{at}"] for at in range(3)] for row in counts] == [
        ["spam", "2", "66.7%"],
        ["<b>ham", "1", "33.3%"],
    ]
    first = [[row[f"c{at}"] for at in range(5)] for row in table(ann, words.FIRST).rows]
    doubtful = words.DOUBTFUL_ONE.format(confidence="50.0%")
    assert first == [
        ["2", "Win", "spam", "87.5%", ""],
        ["4", "?", "ham", doubtful, ""],
        ["3", "", "", "\u2013", "is empty"],
    ]
    (earlier,) = table(ann, words.EARLIER).rows
    assert earlier["c0_href"] == f"/api/v1/jobs/{old.id}/table"
    link = str(only(ann, ui.button, "download").props["href"])
    assert link == f"/api/v1/jobs/{new.id}/table"
    (new.path / "answers.csv").write_bytes(b"\xef\xbb\xbftext,label\r\n")
    got = await ann.http_client.get(link)
    assert got.content == b"\xef\xbb\xbftext,label\r\n"
    assert got.headers["content-disposition"].startswith("attachment")
    assert (await ann.http_client.get(earlier["c0_href"])).status_code == 404  # it has no file


async def test_how_far_it_is_and_that_it_failed_is_told(app: FastAPI, ann: User) -> None:
    folder = trained(app, "working")
    await listed(app, folder)
    failed = {
        "status": "failed",
        "code": "MISSING_COLUMN",
        "message": "no column <b>x",
        "value": {},
    }
    await answering(app, folder, 9_003, "failed", failed)
    job = await answering(app, folder, 9_004, "paused", None)  # nobody works on it
    with EventWriter(job.events, 1) as tell:
        tell(Progress(stage="answering", done=3, total=12, seconds_left=90.0))
    await ann.open(f"/runs/{folder.id}/table")
    await ann.should_see(words.FAILED.format(why="no column <b>x"))
    await ann.should_see(words.ANSWERING.format(done="3", total="12"))
    await ann.should_see(words.LEFT.format(time="1 min 30 s"))
    await ann.should_see(words.MAY_LEAVE)
    with EventWriter(job.events, 2) as tell:
        tell(Progress(stage="answering", done=12, total=12, seconds_left=0.0))
    await until(ann, words.ANSWERING.format(done="12", total="12"))
    await ann.should_not_see(words.LEFT.format(time="0 s"))
    ann.find(marker="stop").click()
    await ann.should_see(words.CANCEL_TEXT)
    ann.find(marker="confirm").click()
    await until(ann, words.STOPPED)
    await ann.should_not_see(words.MAY_LEAVE)

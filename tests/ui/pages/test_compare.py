"""Runs beside each other: curves, figures, and what differs in their settings."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.event_types import RunEnded, Validation
from gemma_keras_tune_ui.pages.runs.compare import best_of, differences, flat
from gemma_keras_tune_ui.words import runs as words
from tests.support.pages import upload
from tests.ui.pages.test_runs import listed, run_of, step, table

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_settings_are_compared_by_dotted_key_where_they_differ() -> None:
    one = flat({"name": "a", "train": {"epochs": 1, "seed": 0}, "data": {"columns": {"text": "m"}}})
    two = flat({"name": "b", "train": {"epochs": 2, "seed": 0}, "data": {"columns": {}}})
    assert differences([one, two]) == [
        ("train.epochs", ["1", "2"]), ("data.columns", ['{"text": "m"}', "{}"]),
    ]  # fmt: skip
    assert best_of("loss", [0.2, None, 0.1]) == {2}
    assert best_of("accuracy", [0.2, 0.9, 0.9]) == {1, 2}
    assert best_of("accuracy", [0.9, 0.9]) == set() and best_of("loss", [None, 0.1]) == set()


async def test_runs_are_compared_with_their_curves_and_results(app: FastAPI, ann: User) -> None:
    measured = Validation(step=2, loss=0.7, perplexity=2.0, tokens=9, best=True)
    one = run_of(app, "slow", step(1), step(2), measured, RunEnded(status="done"))
    two = run_of(app, "fast", step(1), RunEnded(status="done"), **{"train.learning_rate": 0.01})
    (two.path / "report.json").write_text(json.dumps({"tuned": {"loss": 0.25, "accuracy": 0.9}}))
    (one.path / "report.json").write_text(json.dumps({"tuned": {"loss": 0.5, "accuracy": 0.8}}))
    await listed(app, one, two)
    await ann.open(f"/compare?runs={one.id},{two.id}")
    assert table(ann, words.DIFFERENCES).rows[0]["c0"] == "train.learning_rate"
    figures = {row["c0"]: (row["c1"], row["c2"]) for row in table(ann, words.FIGURES).rows}
    assert figures["Loss"] == ("0.5", words.BETTER.format(value="0.25"))
    assert figures["Accuracy"] == ("80.0%", words.BETTER.format(value="90.0%"))
    plots = {one.props["aria-label"]: one.figure for one in ann.find(ui.plotly).elements}
    drawn = {name: plot["data"][0]["y"] for name, plot in plots.items()}
    assert drawn == {
        words.TRAINING_CURVES: [3.0, 1.5], words.VALIDATION_CURVES: [0.7],
        words.CHART_SMOOTH: pytest.approx([3.0, 4.2 / 1.9]),
        words.CHART_RATE: [1e-4, 1e-4], words.CHART_NORM: [1.0, 1.0],
        words.CHART_SPEED: [16.0, 16.0],
    }  # fmt: skip
    assert plots[words.CHART_SMOOTH]["layout"]["yaxis"]["type"] == "log"
    assert figures["Lowest validation loss"] == ("0.7", "\u2013")
    await ann.should_not_see(marker="too-many")
    ids = [await upload(ann, f"text,label\nhello,{label}\n", "mine.csv") for label in "ab"]
    same = [
        run_of(app, f"of-{id}", RunEnded(status="done"), **{
            "data.path": str(app.state.settings.root / "datasets" / id / "data.csv"),
            "data.test_path": None,
        })
        for id in ids
    ]  # fmt: skip
    await listed(app, *same)
    await ann.open(f"/compare?runs={','.join(one.id for one in same)}")
    (row,) = table(ann, words.DIFFERENCES).rows
    assert [row["c0"], row["c1"], row["c2"]] == [
        "data.path", *(words.NAMED_DATA.format(file="mine.csv", name=id[:8]) for id in ids),
    ]  # fmt: skip
    more = [run_of(app, f"more-{number}", RunEnded(status="done")) for number in range(7)]
    await listed(app, *more)
    await ann.open(f"/compare?runs={','.join(one.id for one in [one, two, *more])}")
    await ann.should_see(words.COMPARE_MANY.format(count="9", most="8"))
    await ann.open("/compare?runs=")
    await ann.should_see(words.COMPARE_FEW_TITLE)


async def test_a_run_with_a_recipe_that_is_none_is_compared_all_the_same(
    app: FastAPI, ann: User
) -> None:
    one, two = (run_of(app, f"odd-{n}", step(n), RunEnded(status="done")) for n in (1, 2))
    two.recipe_json.write_text('{"data": "mails.csv"}')
    await listed(app, one, two)
    await ann.open(f"/compare?runs={one.id},{two.id}")
    settings = {row["c0"]: row["c2"] for row in table(ann, words.DIFFERENCES).rows}
    assert settings["data"] == "mails.csv" and settings["data.path"] == "\u2013"

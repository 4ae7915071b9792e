"""What came of a run, and its exports."""

from __future__ import annotations

import io
import json
import math
import zipfile
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.data_codes import CODES
from gemma_keras_tune.evaluation.chance import Comparison, share_interval
from gemma_keras_tune.event_types import Event, RunEnded, Warned
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune_ui.pages.result.result import verdict
from gemma_keras_tune_ui.pages.result.trust import are_too_few
from gemma_keras_tune_ui.words import data as data_words
from gemma_keras_tune_ui.words import export as export_words
from gemma_keras_tune_ui.words import result as words
from tests.support.pages import only, until, upload
from tests.ui.pages.test_runs import listed, run_of, table

pytestmark = pytest.mark.asyncio(loop_scope="module")


def measures(accuracy: float, loss: float) -> dict[str, Any]:
    one = {"precision": accuracy, "recall": accuracy, "f1": accuracy, "support": 2}
    return {
        "loss": loss,
        "perplexity": 2.0,
        "tokens": 4,
        "accuracy": accuracy,
        "accuracy_interval": [0.436, 0.97],
        "macro_f1": accuracy,
        "per_class": {"ham": one, "spam": one},
        "confusion": {"labels": ["ham", "spam"], "counts": [[2, 0], [1, 1]]},
    }


def compared(better: int, worse: int) -> dict[str, Any]:
    return Comparison(better=better, worse=worse).to_json()


def measured_run(app: FastAPI, name: str, *events: Event) -> RunFolder:
    folder = run_of(app, name, *events, RunEnded(status="done"))
    answer = {"text": "spam", "stop_reason": "stop", "predicted": "spam", "confidence": 0.8}
    before = {**answer, "text": "no idea", "stop_reason": "length"}
    sample = {"row": 2, "prompt": "<b>Win</b>", "expected": "spam", "tuned": answer, "base": before}
    report = {
        "task": "classification",
        "rows": 4,
        "shortened": 0,
        "dropped": 1,
        "base": measures(0.5, 2.0),
        "tuned": measures(0.75, 0.2),
        "compared": {**compared(1, 0), "rows_to_tell": 24},
        "samples": [sample],
    }
    folder.report_json.write_text(json.dumps(report))
    rows = [
        {"row": 2, "prompt": "Lunch?", "expected": "ham", "predicted": "ham", "confidence": 0.9,
         "nats": 0.1, "tokens": 1, "base_predicted": "spam"},
        {"row": 3, "prompt": "Win {now}", "expected": "spam", "predicted": "ham", "confidence": 0.7,
         "nats": 2.0, "tokens": 1, "base_predicted": "ham"},
    ]  # fmt: skip
    folder.predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("base", "tuned", "pairs", "found"),
    [
        (measures(0.5, 2), measures(0.9, 1), compared(170, 10), ("better", "good", True)),
        (measures(0.5, 2), measures(0.75, 1), compared(2, 1), ("changed", "info", False)),
        (measures(0.9, 2), measures(0.5, 3), compared(10, 170), ("worse", "bad", True)),
        (measures(0.5, 2), measures(0.9, 1), None, ("changed", "info", None)),
        (measures(0.9, 2), measures(0.9, 1), compared(3, 3), ("same", "info", None)),
        ({"loss": 2.0}, {"loss": 1.0}, compared(9, 0), ("better", "good", True)),
        ({"loss": 2.0}, {"loss": 1.0}, compared(4, 0), ("changed", "info", False)),
        ({"loss": 2.0}, {"loss": 1.9}, compared(1, 9), ("changed", "info", False)),
        ({"loss": 1.0}, {"loss": 2.0}, compared(0, 9), ("worse", "bad", True)),
        (None, {"loss": 2.0}, None, ("alone", "info", None)),
    ],
)
async def test_the_verdict_says_no_more_than_the_figures(base, tuned, pairs, found) -> None:
    assert verdict({"base": base, "tuned": tuned, "compared": pairs}) == found


async def test_the_result_is_told_in_figures_and_in_words(app: FastAPI, ann: User) -> None:
    folder = measured_run(app, "good")
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    await ann.should_see(words.VERDICTS_LABELS["changed"].format(tuned="3", base="3", rows="4"))
    await ann.should_see(words.UNSURE.format(rows="4"))
    await ann.should_see(words.ROWS_TO_TELL.format(rows="24"))
    await ann.should_see(words.RIGHT_OF.format(right="3", rows="4", low="44%", high="97%"))
    await ann.should_see(words.ACCURACY_TEXT)
    figures = {
        row["c0"]: [row[f"c{at}"] for at in (1, 2, 3)] for row in table(ann, words.FIGURES).rows
    }
    assert figures["Accuracy"] == ["50.0%", "75.0%", "25.0% better"]
    assert figures["Surprise a token (loss)"] == ["2", "0.2", "1.8 better"]
    for text, name in words.FIGURE_FILES.items():
        (link,) = ann.find(text).elements
        assert link.props["href"] == f"/api/v1/runs/{folder.id}/files/{name}"
    await ann.should_see("<b>Win</b>")
    await ann.should_see(words.WRITTEN.format(text=f"no idea {words.CUT}"))


async def test_labels_that_were_learned_apart_and_may_be_one_are_told_with_the_figures(
    app: FastAPI, ann: User
) -> None:
    message = "SIMILAR_LABELS (1x: data.csv:4): Labels that look alike: 'a', 'b'. "
    message += CODES["SIMILAR_LABELS"].fix
    warned = Warned(code="SIMILAR_LABELS", message=message)
    other = Warned(code="UNNAMED_COLUMN", message="UNNAMED_COLUMN: Column 5 has no name.")
    folder = measured_run(app, "alike", other, warned, warned)
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    what = "Row 4: Labels that look alike: 'a', 'b'. "
    what += data_words.FIXES_ELSEWHERE["SIMILAR_LABELS"]
    (note,) = ann.find(marker="labels").elements
    (text,) = [one.text for one in note.descendants() if isinstance(one, ui.label)]
    assert text == words.LABELS_APART.format(what=what)
    await ann.should_not_see("no name")


async def test_a_sample_says_which_label_was_counted_whatever_it_says(
    app: FastAPI, ann: User
) -> None:
    folder = measured_run(app, "counted")
    report = json.loads(folder.report_json.read_text())
    report["samples"][0]["base"] |= {"text": "Surely spam.", "predicted": "ham"}
    folder.report_json.write_text(json.dumps(report))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    await ann.should_see(words.SAMPLES_TEXT)
    await ann.should_see(words.COUNTED_RIGHT.format(label="spam"))
    await ann.should_see(words.COUNTED_WRONG.format(label="ham"))
    await ann.should_see(words.WRITTEN.format(text=f"Surely spam. {words.CUT}"))
    await ann.should_not_see(words.WRITTEN.format(text="spam"))


@pytest.mark.parametrize(
    ("bounds", "is_few"),
    [
        (share_interval(9, 9), True),  # 70 % to 100 %
        (share_interval(15, 15), True),
        (share_interval(16, 16), False),  # 81 % to 100 %
        (share_interval(39, 40), False),
        (share_interval(46, 92), True),  # 40 % to 60 %, and a little more
        (share_interval(46, 93), False),
        (None, False),
    ],
)
async def test_rows_are_too_few_where_the_share_is_known_no_better_than_by_ten_points(
    bounds, is_few
) -> None:
    assert are_too_few({"tuned": {"accuracy_interval": bounds}}) is is_few


async def test_too_few_rows_are_told_with_the_place_where_more_are_held_back(
    app: FastAPI, ann: User
) -> None:
    folder = measured_run(app, "few")
    dataset = await upload(ann, "message,label\nhi,ham\n", "few.csv")
    path = app.state.settings.root / "datasets" / dataset / "data.csv"
    recipe = json.loads(folder.recipe_json.read_text())
    recipe["data"] |= {"path": str(path), "test_path": None}
    folder.recipe_json.write_text(json.dumps(recipe))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    await ann.should_see(words.FEW_ROWS.format(rows="4", low="44%", high="97%"))
    await ann.should_not_see(words.HOW_TO_GET_THEM)
    place = only(ann, ui.button, "hold-more-back").props["href"]
    assert place == f"/data/{dataset}?tab=split"
    await ann.open(place)
    await until(ann, data_words.TEST_SHARE)


async def test_enough_rows_say_what_to_expect_of_new_ones(app: FastAPI, ann: User) -> None:
    folder = measured_run(app, "enough")
    report = json.loads(folder.report_json.read_text())
    report["tuned"]["accuracy_interval"] = [0.88, 0.95]
    folder.report_json.write_text(json.dumps(report))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    await ann.should_see(words.ENOUGH_ROWS.format(low="88%", high="95%"))
    await ann.should_see(words.HOW_TO_GET_THEM)
    await ann.should_not_see(words.MORE_ROWS)


async def test_answers_without_labels_are_told_by_how_likely_they_were(
    app: FastAPI, ann: User
) -> None:
    folder = measured_run(app, "answers")
    report = json.loads(folder.report_json.read_text())
    of_one = {"perplexity": 2.0, "tokens": 4}
    report |= {
        "base": {"loss": math.log(4), **of_one},
        "tuned": {"loss": math.log(2), **of_one},
        "compared": compared(9, 0),
        "samples": [],
    }
    folder.report_json.write_text(json.dumps(report))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    await ann.should_see(words.VERDICTS_ANSWERS["better"].format(tuned="50.0%", base="25.0%"))
    await ann.should_see(words.LIKELIHOOD_TEXT)
    await ann.should_not_see(words.ACCURACY_TEXT)


async def test_a_result_leads_on_to_training_further_or_anew(app: FastAPI, ann: User) -> None:
    folder = measured_run(app, "further")
    folder.adapter.mkdir()
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    await ann.should_see(marker="train-further")
    links = [one.props.get("href") for one in ann.find(ui.button).elements]
    assert {f"/runs/{folder.id}/playground", f"/runs/{folder.id}/export"} <= set(links)
    await ann.open(f"/configure?run={folder.id}&further=yes")
    await ann.should_see(f"run:{folder.id}")


async def test_a_cell_of_the_matrix_opens_the_rows_behind_it(app: FastAPI, ann: User) -> None:
    folder = measured_run(app, "cells")
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    rows = table(ann, words.PREDICTIONS)
    assert [row["c1"] for row in rows.rows] == ["Win {now}"], "wrong ones first"
    label = words.CONFUSION_CELL.format(count="1", expected="spam", predicted="ham")
    buttons = [one for one in ann.find(ui.button).elements if one.props.get("aria-label") == label]
    assert len(buttons) == 1
    label = words.CONFUSION_CELL.format(count="2", expected="ham", predicted="ham")
    (right,) = [one for one in ann.find(ui.button).elements if one.props.get("aria-label") == label]
    with ann:
        for listener in right._event_listeners.values():
            if listener.type == "click":
                right._handle_event({"listener_id": listener.id, "args": {}})
    shown = words.SHOWN_CELL.format(expected="ham", predicted="ham")
    await until(ann, shown)
    assert [row["c1"] for row in rows.rows] == ["Lunch?"]
    ann.find(words.ALL_ROWS).click()
    await until(ann, words.PREDICTIONS)
    await ann.should_not_see(shown)


async def test_where_no_row_is_wrong_the_least_sure_ones_come_first(
    app: FastAPI, ann: User
) -> None:
    folder = measured_run(app, "perfect")
    report = json.loads(folder.report_json.read_text())
    report["tuned"]["confusion"]["counts"] = [[2, 0], [0, 2]]
    folder.report_json.write_text(json.dumps(report))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    rows = table(ann, words.PREDICTIONS)
    assert [row["c1"] for row in rows.rows] == ["Win {now}", "Lunch?"]


async def test_a_run_that_was_not_measured_says_what_to_do(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "unmeasured", RunEnded(status="done"))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/result")
    await ann.should_see(words.NONE_TITLE)
    await ann.should_see(words.MEASURE)


async def test_an_export_is_shown_with_its_check_and_downloaded_whole(
    app: FastAPI, ann: User
) -> None:
    folder = run_of(app, "exported", RunEnded(status="done"))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/export")
    await ann.should_see(export_words.NOT_TRAINED_TITLE)
    made = folder.artifacts / "peft"
    made.mkdir(parents=True)
    folder.adapter.mkdir()
    parity = {
        "passed": True,
        "max_abs_diff": 0.00012,
        "argmax_agreement": 1.0,
        "greedy_equal": True,
    }
    (made / "parity.json").write_text(json.dumps(parity))
    (made / "adapter_model.safetensors").write_bytes(b"x" * 5000)
    await until(ann, export_words.PASSED)
    checks = {row["c0"]: row["c1"] for row in table(ann, export_words.PARITY).rows}
    assert checks[export_words.CHECKS["greedy_equal"]] == export_words.YES
    assert checks[export_words.CHECKS["argmax_agreement"]] == "100.0%"
    (button,) = ann.find(marker="download-peft").elements
    answer = await ann.http_client.get(button.props["href"])
    assert answer.status_code == 200 and answer.headers["content-length"] == str(
        len(answer.content)
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert set(archive.namelist()) == {"peft/parity.json", "peft/adapter_model.safetensors"}
    ann.find(export_words.DELETE).click()
    await ann.should_see(export_words.DELETE_TEXT)
    ann.find(marker="confirm").click()
    await until(ann, export_words.NONE)
    assert not made.exists()

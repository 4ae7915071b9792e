"""A table answered: the same answers as the report's, in the rows' own places."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gemma_keras_tune as gkt
from gemma_keras_tune.data.whole_table import read_whole_table
from gemma_keras_tune.errors import DataError, ModelError, TuneError
from gemma_keras_tune.evaluation.answered import HowToAnswer, answer_rows
from gemma_keras_tune.evaluation.generate import generate
from gemma_keras_tune.evaluation.held_back import read_held_back
from gemma_keras_tune.evaluation.report import evaluate
from gemma_keras_tune.evaluation.table_questions import TableQuestions
from gemma_keras_tune.event_types import Progress
from gemma_keras_tune.recipe import EvaluateRecipe, Recipe
from tests.evaluation.support import LABELS, TEXTS, tiny_model, tuned

LONG_LABEL = "free prize"
NASTY = 'a "quoted" prize;\nof two lines, =1+1'


@pytest.fixture(scope="module")
def model(tiny_tokenizer):
    return tuned(tiny_model(tiny_tokenizer), strength=0.3)


def recipe_of(task: str = "classification", **data: Any) -> Recipe:
    values = {"path": "rows.csv", "task": task, "max_length": 64, **data}
    evaluate = {"batch_rows": 2, "max_tokens": 4}
    return Recipe.model_validate({"name": "r", "data": values, "evaluate": evaluate})


def answered(model, path: Path, out: Path, recipe: Recipe | None = None, **how: Any):
    """The value and the rows that were written."""
    recipe = recipe or recipe_of()
    events, reading = how.pop("events", None), how.pop("reading", {})
    column = how.pop("column", "text")
    labels = LABELS if recipe.data.task == "classification" else ()
    wishes = HowToAnswer(
        **{"column": column, "labels": labels, "max_tokens": 4, "raw": False} | how
    )
    table = read_whole_table(path, wanted=[column], **reading)
    found = answer_rows(model, recipe, table, out, how=wishes, on_event=events)
    with out.open(encoding="utf-8-sig", newline="") as file:
        if table.format == "jsonl":
            return found, [json.loads(line) for line in file]
        return found, list(csv.DictReader(file, delimiter=table.delimiter))


def write_csv(path: Path, rows: list[list[str]], *, encoding: str = "utf-8", **how: Any) -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **how).writerows(rows)
    return path


def test_labels_and_confidence_are_those_of_the_report_on_the_same_rows(model, tmp_path):
    labelled = [[text, LABELS[i % 2]] for i, text in enumerate(TEXTS)]
    write_csv(tmp_path / "rows.csv", [["text", "label"], *labelled])
    data = recipe_of(path=str(tmp_path / "rows.csv"), validation_share=0, test_share=0).data
    evaluate(
        model,
        gkt.load_examples(data).train,
        EvaluateRecipe(samples=0, batch_rows=3),
        predictions_path=tmp_path / "predictions.jsonl",
    )
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    table = write_csv(
        tmp_path / "new.csv", [["id", "text"], *([str(i), t] for i, t in enumerate(TEXTS))]
    )
    found, rows = answered(model, table, tmp_path / "out.csv")
    assert [row["label"] for row in rows] == [one["predicted"] for one in expected]
    np.testing.assert_allclose(
        [float(row["confidence"]) for row in rows],
        [one["confidence"] for one in expected],
        atol=1e-4,
    )
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert found.answered == found.rows == 5 and found.columns == ("label", "confidence", "remark")
    predicted = [one["predicted"] for one in expected]
    assert found.counts == {label: predicted.count(label) for label in dict.fromkeys(found.counts)}
    assert sum(found.counts.values()) == 5


def test_shortened_rows_are_read_as_the_report_reads_them(model, tmp_path):
    long = " ".join(TEXTS)
    write_csv(tmp_path / "rows.csv", [["text", "label"], [long, "ham"], [TEXTS[0], LONG_LABEL]])
    recipe = recipe_of(
        path=str(tmp_path / "rows.csv"),
        prompt_format="Spam? {prompt}",
        too_long="truncate",
        validation_share=0,
        test_share=0,
    )
    held_back = read_held_back(model, gkt.load_examples(recipe.data).train)
    path = write_csv(tmp_path / "new.csv", [["text"], [long], [TEXTS[0]]])
    labels = ("ham", LONG_LABEL)
    questions = TableQuestions(model, recipe.data, column="text", labels=labels)
    asked = [questions.ask(row) for row in read_whole_table(path, wanted=["text"]).rows]
    assert [one.prompt_ids for one in asked] == [one.prompt_ids for one in held_back.questions]
    assert [one.is_shortened for one in asked] == [True, False] and held_back.shortened == 1
    found, rows = answered(model, path, tmp_path / "out.csv", recipe, labels=labels)
    assert found.shortened == 1 and "64 tokens" in rows[0]["remark"] and not rows[1]["remark"]


def test_rows_that_cannot_be_answered_keep_their_place_and_say_why(model, tmp_path):
    rows = [
        ["id", "text"],
        ["1", TEXTS[0]],
        ["2", ""],
        ["", ""],
        ["4", "noon " * 80],
        ["5", TEXTS[2]],
    ]
    found, written = answered(model, write_csv(tmp_path / "t.csv", rows), tmp_path / "out.csv")
    assert [row["id"] for row in written] == ["1", "2", "", "4", "5"]
    assert [bool(row["label"]) for row in written] == [True, False, False, False, True]
    assert [bool(row["confidence"]) for row in written] == [True, False, False, False, True]
    assert "'text' is empty" in written[1]["remark"] and "64 tokens" in written[3]["remark"]
    assert found.not_answered == {"EMPTY_TEXT": 2, "TOO_LONG": 1}
    assert (found.rows, found.answered) == (5, 2)
    assert [one.line for one in found.first] == [2, 3, 4, 5, 6]


def test_an_empty_line_of_a_single_column_is_a_row(model, tmp_path):
    (tmp_path / "t.csv").write_text(f"text\n{TEXTS[0]}\n\n{TEXTS[2]}\n")
    found, rows = answered(model, tmp_path / "t.csv", tmp_path / "out.csv")
    assert [row["text"] for row in rows] == [TEXTS[0], "", TEXTS[2]]
    assert found.not_answered == {"EMPTY_TEXT": 1}


def test_a_table_with_nothing_to_answer_is_given_back_all_the_same(model, tmp_path):
    table = write_csv(tmp_path / "t.csv", [["id", "text"], ["1", " "], ["2", ""]])
    found, rows = answered(model, table, tmp_path / "out.csv")
    assert found.answered == 0 and len(rows) == 2


def test_row_34_cells_come_back_as_they_were_and_formulas_are_not_computed(model, tmp_path):
    rows = [
        ["id", "Größe", "text"],
        ["1", "=1+1", NASTY],
        ["-2,5", "+49 30", "Grüße ß"],
        ["@x", "\tz", "a"],
    ]
    table = write_csv(tmp_path / "t.csv", rows, encoding="cp1252", delimiter=";")
    with pytest.raises(DataError, match="Read it as cp1252") as caught:
        read_whole_table(table, wanted=["text"])
    assert caught.value.code == "UNDECODABLE_BYTES" and "bad_rows" not in str(caught.value)
    reading = {"encoding": "cp1252"}
    found, written = answered(model, table, tmp_path / "out.csv", reading=reading)
    assert (
        (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfid;Gr\xc3\xb6\xc3\x9fe;text;")
    )
    own = [[row[name] for name in rows[0]] for row in written]
    assert own == [["1", "'=1+1", NASTY], ["-2,5", "'+49 30", "Grüße ß"], ["'@x", "'\tz", "a"]]
    assert found.guarded == 4
    raw, as_is = answered(model, table, tmp_path / "raw.csv", reading=reading, raw=True)
    assert [[row[name] for name in rows[0]] for row in as_is] == rows[1:] and not raw.guarded


def test_answers_below_the_bound_are_marked_and_counted(model, tmp_path):
    table = write_csv(tmp_path / "t.csv", [["text"], *([text] for text in TEXTS), [" "]])
    without, plain = answered(model, table, tmp_path / "plain.csv")
    assert {one["is_doubtful"] for one in without.to_json()["first"]} == {None}
    sure = [float(row["confidence"]) for row in plain[:-1]]
    bound = sorted(sure)[2]  # two of five are below it, and one is the bound itself
    found, rows = answered(model, table, tmp_path / "out.csv", doubt_below=bound)
    assert found.columns == ("label", "confidence", "doubtful", "remark")
    expected = ["yes" if one < bound else "no" for one in sure]
    assert [row["doubtful"] for row in rows] == [*expected, ""] and expected.count("yes") == 2
    assert found.doubtful == 2 and found.to_json()["doubtful"] == 2
    assert [one["is_doubtful"] for one in found.to_json()["first"]][:5] == [
        one == "yes" for one in expected
    ]
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": TEXTS[0]}) + "\n")
    _, (row,) = answered(model, path, tmp_path / "out.jsonl", doubt_below=1)
    assert row["doubtful"] is True


@pytest.mark.parametrize(
    ("delimiter", "numbers", "has_comma"),
    [
        (";", ["1", "2"], True),  # as Excel writes it where numbers have commas
        (";", ["1,5", "2.25"], True),
        (";", ["0.5", "0.25"], False),
        (";", ["1.000", "2.500"], True),  # thousands, it seems
        ("\t", ["1,5", "2"], True),
        ("\t", ["1", "2"], False),
        (",", ["1,5", "2,5"], False),  # 0,5 would be two cells to whoever reads the line
    ],
)
def test_new_numbers_have_the_decimal_sign_of_the_table(
    model, tmp_path, delimiter, numbers, has_comma
):
    rows = [["text", "price"], *([TEXTS[0], number] for number in numbers)]
    table = write_csv(tmp_path / "t.csv", rows, delimiter=delimiter)
    out = tmp_path / ("out.tsv" if delimiter == "\t" else "out.csv")
    found, (row, _) = answered(model, table, out)
    whole, sign, decimals = row["confidence"].partition("," if has_comma else ".")
    assert sign and whole == "0" and float(f"0.{decimals}") == round(found.first[0].confidence, 4)
    assert row["price"] == numbers[0] and not found.guarded


def test_names_that_the_table_has_already_get_a_number(model, tmp_path):
    rows = [["text", "label", "label (2)", "remark"], [TEXTS[0], "mine", "too", "see"]]
    found, written = answered(model, write_csv(tmp_path / "t.csv", rows), tmp_path / "out.csv")
    assert found.columns == ("label (3)", "confidence", "remark (2)")
    assert (written[0]["label"], written[0]["label (2)"], written[0]["remark"]) == (
        "mine",
        "too",
        "see",
    )
    assert written[0]["label (3)"] in LABELS


def test_the_text_may_stand_in_any_column_also_one_named_as_the_label(model, tmp_path):
    rows = [["label", "text"], [TEXTS[0], "nothing of it"]]
    table = write_csv(tmp_path / "t.csv", rows)
    plain = write_csv(tmp_path / "plain.csv", [["text"], [TEXTS[0]]])
    _, (one,) = answered(model, table, tmp_path / "out.csv", column="label")
    _, (other,) = answered(model, plain, tmp_path / "other.csv")
    assert one["confidence"] == other["confidence"] and one["label (2)"] == other["label"]


def test_written_answers_are_those_of_generate_with_the_recipes_words_around(model, tmp_path):
    recipe = recipe_of("instruction", prompt_format="Q: {prompt}", columns={"response": "reply"})
    lines = [{"prompt": TEXTS[0], "n": 1.5}, {"prompt": None}, {"prompt": TEXTS[2], "x": [1]}]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, rows = answered(model, path, tmp_path / "out.jsonl", recipe, column="prompt")
    expected = generate(model, [f"Q: {TEXTS[0]}", f"Q: {TEXTS[2]}"], max_tokens=4, batch_rows=2)
    assert [rows[0]["reply"], rows[2]["reply"]] == [one.text.strip() for one in expected]
    assert rows[1] == {"prompt": None, "reply": None, "remark": "Column 'prompt' is empty."}
    assert (rows[0]["n"], rows[2]["x"]) == (1.5, [1])
    cut = [one.stop_reason == "length" for one in expected]
    assert [bool(rows[0]["remark"]), bool(rows[2]["remark"])] == cut
    assert found.cut_off == sum(cut) and found.counts == {} and found.columns == ("reply", "remark")


def test_a_conversation_is_answered_without_its_last_answer_and_a_text_is_one_question(
    model, tmp_path
):
    user, reply = {"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": "no"}
    table = [
        ["messages"],
        [json.dumps([user, reply])],
        [json.dumps([user])],
        [TEXTS[0]],
        ["[oops"],
        [""],
    ]
    path = write_csv(tmp_path / "t.csv", table)
    found, rows = answered(model, path, tmp_path / "out.csv", recipe_of("chat"), column="messages")
    assert len({row["answer"] for row in rows[:3]}) == 1
    assert found.not_answered == {"JSON_SYNTAX": 1, "MISSING_VALUE": 1} and found.answered == 3


def test_progress_counts_every_row_up_to_the_last(model, tmp_path, monkeypatch):
    monkeypatch.setattr("gemma_keras_tune.evaluation.answered._BLOCK", 2)
    rows = [["text"], *([text] for text in TEXTS), ["noon " * 80]]
    events: list[Any] = []
    answered(model, write_csv(tmp_path / "t.csv", rows), tmp_path / "out.csv", events=events.append)
    assert all(isinstance(one, Progress) and one.stage == "answering" for one in events)
    done = [one.done for one in events]
    assert done == sorted(done) and events[-1].done == events[-1].total == 6


def test_the_time_left_of_written_answers_is_told_before_the_first_of_them_is_whole(
    model, tmp_path
):
    table = write_csv(tmp_path / "t.csv", [["prompt"], *([text] for text in TEXTS)])
    events: list[Any] = []
    how = {"max_tokens": 40, "events": events.append, "column": "prompt"}
    answered(model, table, tmp_path / "out.csv", recipe_of("instruction"), **how)
    assert [one.seconds_left for one in events if one.done == 0][1:], "no report on the way"
    assert all(one.seconds_left is not None for one in events[1:])
    assert events[-1].seconds_left == 0


def test_a_table_that_is_stopped_or_spoilt_leaves_no_file(model, tmp_path):
    table = write_csv(tmp_path / "t.csv", [["text"], [TEXTS[0]]])

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answered(model, table, tmp_path / "out.csv", events=stop)
    spoilt = tuned(model, strength=float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        answered(spoilt, table, tmp_path / "out.csv")
    with pytest.raises(TuneError) as caught:
        answered(model, table, tmp_path / "nowhere" / "out.csv")
    assert caught.value.code == "ANSWERS_FILE"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_row_that_cannot_be_read_stops_all_of_it(tmp_path):
    (tmp_path / "t.csv").write_text("text,id\na,1\nb\nc,3\n")
    with pytest.raises(DataError, match="t.csv:3.*every row must be readable") as caught:
        read_whole_table(tmp_path / "t.csv", wanted=["text"])
    assert caught.value.code == "CSV_RAGGED_ROW"

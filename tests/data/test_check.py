from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_keras_tune.data.check import STEPS, check_data, histogram_of, score_of
from gemma_keras_tune.data.findings import finding
from gemma_keras_tune.data_codes import CODES
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.text.template import template_for


@pytest.fixture
def check(tmp_path):
    def run(rows, *, template=None, name="d.jsonl", test=None, **settings):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if test is not None:
            (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
            settings["test_path"] = str(tmp_path / "test.jsonl")
        settings = {"task": "classification"} | settings
        return check_data(DataRecipe(path=str(path), **settings), template=template)

    return run


def clean(count=60):
    return [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(count)]


def found(report):
    return {item.code: (item.severity, item.count) for item in report.findings}


def test_clean_data_has_no_findings_and_the_full_score(check):
    report = check(clean(100))
    assert (report.rows, report.train, report.validation, report.test) == (100, 80, 10, 10)
    assert report.labels == {"a": 50, "b": 50}
    assert (report.findings, report.score, report.usable) == ((), 100, True)


ODD_ROWS = {
    "DUPLICATE_ROWS": ([{"text": "TEXT 0", "label": "a"}], ("warning", 1)),
    "CONTRADICTING_ROWS": ([{"text": "text 0", "label": "b"}], ("warning", 2)),
    "RARE_LABEL": ([{"text": "x", "label": "c"}], ("warning", 1)),
    "LABEL_IMBALANCE": ([{"text": "x", "label": "c"}], ("warning", 1)),
    "LABEL_SPELLING": ([{"text": "x", "label": "A"}, {"text": "y", "label": "A"}], ("warning", 32)),
    "CONTROL_TEXT": (
        [{"text": "a <start_of_turn>", "label": "a"}, {"text": "<|turn>", "label": "b"}],
        ("info", 2),
    ),
    "WORD_SPACE_LETTER": ([{"text": "a\u2581b", "label": "a"}], ("info", 1)),
    "HIDDEN_LETTERS": ([{"text": "a\u202eb", "label": "a"}], ("info", 1)),
    "REPLACEMENT_LETTERS": ([{"text": "a\ufffdb", "label": "a"}], ("warning", 1)),
    "EMPTY_TEXT": ([{"text": "", "label": "a"}], ("error", 1)),
    "EMPTY_ANSWER": ([{"text": "x", "label": ""}], ("error", 1)),
}


@pytest.mark.parametrize("code", ODD_ROWS)
def test_odd_rows_are_found_and_counted(code, check):
    rows, expected = ODD_ROWS[code]
    report = check(clean() + rows)
    assert found(report)[code] == expected
    assert report.score < 100 or expected[0] == "info"


@pytest.mark.parametrize(
    "text", ["a <b> c", "<table>", "x < y > z", "if a | b", "family \U0001f468\u200d\U0001f469"]
)
def test_ordinary_text_is_no_control_text_and_hides_nothing(text, check):
    assert not {"CONTROL_TEXT", "HIDDEN_LETTERS"} & set(
        found(check([*clean(), {"text": text, "label": "a"}]))
    )


def test_a_single_class_and_few_rows_are_warnings(check):
    report = check([{"text": f"t{i}", "label": "a"} for i in range(20)])
    assert found(report) == {"SINGLE_CLASS": ("warning", 20), "FEW_ROWS": ("warning", 16)}
    assert report.usable


def test_an_allowed_label_without_any_row_is_noticed(check):
    report = check(clean(100), labels=("a", "b", "never"))
    assert found(report) == {"RARE_LABEL": ("warning", 1)}
    assert "'never'" in report.findings[0].what


def test_a_column_of_ids_taken_for_labels_is_noticed(check):
    rows = [{"text": f"t{i}", "label": f"id{i}"} for i in range(60)]
    assert found(check(rows))["TOO_MANY_LABELS"] == ("warning", 60)


def test_very_short_answers_are_noticed(check):
    rows = [{"prompt": f"p{i}", "response": "no way" if i else "k"} for i in range(80)]
    assert found(check(rows, task="instruction")) == {"SHORT_ANSWERS": ("info", 1)}


def test_leakage_between_two_files_is_an_error(check):
    report = check(clean(100), test=clean(10))
    assert found(report)["TRAIN_TEST_LEAKAGE"][0] == "error"
    assert not report.usable


def test_lengths_are_told_where_the_template_is_known(check, tiny_tokenizer):
    template = template_for("plain", tiny_tokenizer)
    rows = [{"text": "n" * 4, "label": "a"}] * 99 + [{"text": "n" * 40, "label": "b"}]
    report = check(rows, template=template, max_length=20)
    # bos, the letters, new line, the label's letter, eos
    assert report.tokens == {
        "total": 99 * 8 + 44,
        "supervised_share": round(200 / (99 * 8 + 44), 6),
        "median": 8.0,
        "p95": 8.0,
        "longest": 44,
        "over_limit": 1,
    }
    assert found(report)["TOO_LONG"] == ("error", 1)
    cut = check(rows, template=template, max_length=20, too_long="truncate")
    assert found(cut)["TRUNCATED"] == ("warning", 1)
    every = check(clean(), template=template, max_length=8)
    assert found(every)["ALL_ROWS_TOO_LONG"] == ("error", 60)


def test_a_file_that_cannot_be_read_is_a_report_too(check, tmp_path):
    report = check_data(DataRecipe(path=str(tmp_path / "none.csv"), task="text"))
    assert (report.rows, report.score, report.usable) == (0, 0, False)
    assert found(report) == {"FILE_NOT_FOUND": ("error", 1)}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.just("<eos>"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner, max_size=3)
    ),
    max_leaves=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "x"]), "content": json_values}
    ),
    max_size=4,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), task=st.sampled_from(["classification", "instruction", "chat", "text"]))
def test_no_rows_whatever_make_the_report_fail(data, task, check, tiny_tokenizer):
    parts = {"text", "label", "prompt", "response", "system", "messages"}
    row = st.fixed_dictionaries({part: json_values | messages for part in parts})
    rows = data.draw(st.lists(row, max_size=6))
    too_long = data.draw(st.sampled_from(["error", "truncate", "drop"]))
    bad_rows = data.draw(st.sampled_from(["error", "skip"]))
    report = check(
        rows,
        task=task,
        template=template_for("plain", tiny_tokenizer),
        max_length=8,
        too_long=too_long,
        bad_rows=bad_rows,
    )
    assert report.findings  # so few rows are a finding at least
    json.dumps(report.to_json(), allow_nan=False)


def test_the_report_is_plain_json_with_the_promised_keys(check):
    report = json.loads(json.dumps(check([*clean(100), {"text": "x"}]).to_json()))
    assert {"rows", "score", "findings"} <= set(report)
    (item,) = report["findings"]
    assert set(item) == {"code", "severity", "count", "where", "what", "fix"}
    assert item["where"] == ["d.jsonl:101"]


def test_the_score_is_that_of_its_formula():
    assert score_of([], rows=100) == 100
    assert score_of([finding("MISSING_VALUE", "", count=50)], rows=100) == 55  # 30 + 30 / 2
    assert score_of([finding("DUPLICATE_ROWS", "", count=10)], rows=100) == 94  # 5 + 15 / 10
    assert score_of([finding("CONTROL_TEXT", "", count=99)], rows=100) == 100
    assert score_of([finding("MISSING_VALUE", "", count=500)] * 2, rows=100) == 0
    assert score_of([], rows=0) == 0


def test_every_code_says_what_to_do():
    for code, kind in CODES.items():
        assert code.isupper() and kind.fix.endswith("."), code
        assert kind.severity in ("error", "warning", "info")
        assert kind.severity == "error" or not kind.by_row


def test_a_histogram_counts_every_row_once_in_steps_of_one_width():
    lengths = np.array([1, 2, 2, 41, 79])
    found = histogram_of(lengths)
    assert found[:3] == ((1, 2, 3), (3, 4, 0), (5, 6, 0))
    assert found[-1] == (79, 80, 1)
    assert [row for row in found if row[2]] == [(1, 2, 3), (41, 42, 1), (79, 80, 1)]
    assert histogram_of(np.array([7])) == tuple((n, n, int(n == 7)) for n in range(1, 8))


@given(st.lists(st.integers(1, 131_072), min_size=1, max_size=50))
def test_a_histogram_is_never_longer_than_a_chart_can_show(lengths):
    found = histogram_of(np.array(lengths))
    assert len(found) <= STEPS
    assert sum(rows for _, _, rows in found) == len(lengths)


def test_a_report_with_lengths_has_their_histogram(check, tiny_tokenizer):
    report = check(clean(60), template=template_for("plain", tiny_tokenizer)).to_json()
    assert sum(step["rows"] for step in report["histogram"]) == 60
    assert check(clean(60)).to_json()["histogram"] == []

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_keras_tune.data.check import STEPS, check_data, count_rows, histogram_of, score_of
from gemma_keras_tune.data.findings import finding, finding_about
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
    "LABEL_SPELLING": ([{"text": "x", "label": "A"}, {"text": "y", "label": "A"}], ("warning", 2)),
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


def test_a_single_class_and_few_rows_are_warnings_where_nothing_is_measured_at_the_end(check):
    rows = [{"text": f"t{i}", "label": "a"} for i in range(20)]
    report = check(rows, test_share=0.0)
    assert found(report) == {"SINGLE_CLASS": ("warning", 20), "FEW_ROWS": ("warning", 18)}
    assert report.usable
    measured = check(rows)
    assert found(measured)["SINGLE_CLASS"] == ("error", 20)
    assert not measured.usable


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
    assert set(item) == {
        *("code", "severity", "count", "where", "same_as", "what", "fix", "settings")
    }
    assert item["where"] == ["d.jsonl:101"]


def about(code, places, severity=None):
    """A finding about some of a hundred usable rows."""
    rows = [Place() for _ in range(100)]
    found = finding_about(code, "", rows, places)
    return replace(found, severity=severity or found.severity)


class Place:
    row, file = 1, "d.csv"


def test_the_score_is_that_of_its_formula():
    assert score_of([], usable=100) == 100
    three_cells = [
        finding("EMPTY_TEXT", "", count=1),
        finding("EMPTY_ANSWER", "", count=1),
        finding("NAN_LABEL", "", count=1),
    ]
    assert score_of(three_cells, usable=58) == 95  # 100 * 58 / 61
    assert score_of([finding("MISSING_VALUE", "", count=50)], usable=50) == 50
    assert score_of([finding("MISSING_VALUE", "", count=50, left_out=True)], usable=50) == 75
    assert score_of([about("DUPLICATE_ROWS", range(10))], usable=100) == 95  # 10 rows, half each
    assert score_of([about("TOO_LONG", range(10))], usable=100) == 90
    both = [about("TOO_LONG", range(10)), about("DUPLICATE_ROWS", range(5, 15))]
    assert score_of(both, usable=100) == 88  # 10 are not sound, 5 more half: 87.5
    assert score_of([about("CONTROL_TEXT", range(99))], usable=100) == 100
    assert score_of([finding("TRAIN_TEST_LEAKAGE", "", count=4)], usable=100) == 70
    assert score_of([finding("FEW_ROWS", "", count=9)], usable=100) == 95
    assert score_of([finding("TRAIN_TEST_LEAKAGE", "")] * 4, usable=100) == 0
    assert score_of([], usable=0) == 0


def test_a_row_that_several_findings_are_about_counts_once():
    findings = [
        about("TOO_LONG", [0, 1, 2]),
        about("DUPLICATE_ROWS", [2, 3, 4]),
        about("CONTRADICTING_ROWS", [4, 5]),
        about("CONTROL_TEXT", [6]),
        finding("EMPTY_TEXT", "", count=2),
    ]
    assert count_rows(findings, usable=100) == (102, 5, 3, 0)
    left_out = [*findings[:-1], finding("EMPTY_TEXT", "", count=2, left_out=True)]
    assert count_rows(left_out, usable=100) == (102, 3, 3, 2)


def test_the_report_counts_rows_that_need_attention_and_rows_that_can_be_used(check):
    bad = [{"text": "", "label": "a"}, {"text": "x"}, {"text": "y", "label": "NaN"}]
    twice = [{"text": "text 7", "label": "b"}]
    report = check([*clean(80), *bad, *twice])
    assert (report.rows, report.total, report.attention, report.left_out) == (81, 84, 4, 0)
    assert report.score == 96  # 3 of 84 rows are not sound, one is half: 95.8
    left_out = check([*clean(80), *bad, *twice], bad_rows="skip")
    assert (left_out.rows, left_out.total, left_out.attention) == (81, 84, 1)
    assert (left_out.left_out, left_out.score) == (3, 98)  # four rows are half sound: 97.6


def test_all_numbers_are_of_the_rows_that_a_run_would_use(check, tiny_tokenizer):
    template = template_for("plain", tiny_tokenizer)
    bad = [{"text": "", "label": "a"}, {"text": "n" * 40, "label": "b"}]
    report = check([*clean(80), *bad], template=template, max_length=30)
    assert (report.total, report.rows, report.attention, report.left_out) == (82, 80, 2, 0)
    mended = {"bad_rows": "skip", "too_long": "drop"}
    report = check([*clean(80), *bad], template=template, max_length=30, **mended)
    assert (report.total, report.rows, report.attention, report.left_out) == (82, 80, 0, 2)
    assert report.train + report.validation + report.test == 80
    assert report.labels == {"a": 40, "b": 40}
    assert report.score == 99  # two rows of 82 are half sound: 98.8
    cut = check([*clean(80), *bad], template=template, max_length=30, too_long="truncate")
    assert (cut.rows, cut.attention) == (81, 2)  # one can't be used, one is cut


def test_rows_whose_label_may_be_another_one_need_attention(check):
    labels = ["complaint"] * 30 + ["booking"] * 30 + ["complain", "Complaint"]
    report = check([{"text": f"t {n}", "label": label} for n, label in enumerate(labels)])
    assert report.attention == 2


def test_rows_that_are_left_out_are_no_longer_advised_to_be(check):
    (item,) = check([*clean(100), {"text": ""}], bad_rows="skip").findings
    assert item.is_left_out and item.what.endswith("Left out.")
    assert "bad_rows" not in item.fix and item.fix.startswith("Nothing")


def test_a_repeated_row_names_the_one_that_it_repeats(check):
    rows = [*clean(100), {"text": "text 7", "label": "b"}, {"text": "Text 2", "label": "a"}]
    (item,) = check([*rows, {"text": "text 7", "label": "b"}]).findings
    pairs = dict(zip(item.where, item.same_as, strict=True))
    assert pairs == {
        "d.jsonl:101": "d.jsonl:8",
        "d.jsonl:102": "d.jsonl:3",
        "d.jsonl:103": "d.jsonl:8",
    }


def test_labels_that_are_hardly_different_are_told_with_their_rows(check):
    rows = [*clean(), {"text": "x", "label": "A"}, {"text": "y", "label": "A"}]
    told = {item.code: item for item in check(rows).findings}
    assert told["LABEL_SPELLING"].what == "Hardly different: 'A' (2 rows), 'a' (30 rows)."
    # to the rows of the rarer one the finding leads
    assert told["LABEL_SPELLING"].where == ("d.jsonl:61", "d.jsonl:62")


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

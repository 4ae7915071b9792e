"""Errors worked out by hand, and a file that stays whole and small."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from gemma_keras_tune.planning import history
from gemma_keras_tune.planning.history import (
    FILE,
    PastPlan,
    correction_of,
    errors_of,
    past_plans,
    remember,
    summary,
    time_by_past_runs,
)


def entry(planned: int, measured: int, **changes) -> PastPlan:
    values = {"time": "2026-11-22T12:00:00+00:00", "machine": "m", "model": "a"}
    return PastPlan(**{**values, "planned_bytes": planned, "measured_bytes": measured, **changes})


def test_few_runs_correct_nothing_and_their_errors_are_plain():
    found = summary([entry(110, 100), entry(95, 100)])
    assert found.correction == 1.0
    assert found.median_error == pytest.approx(0.075)  # of 10 % and 5 %
    assert found.worst_error == pytest.approx(0.10)


def test_errors_are_those_of_plans_corrected_by_the_other_runs():
    # measured over planned: 1.2, 1.1, 1.0, 1.3; each corrected by the median of the other three
    entries = [entry(100, 120), entry(100, 110), entry(100, 100), entry(100, 130)]
    errors = errors_of(entries)
    assert errors == pytest.approx([1.1 / 1.2 - 1, 1.2 / 1.1 - 1, 1.2 / 1.0 - 1, 1.1 / 1.3 - 1])
    found = summary(entries)
    assert found.correction == pytest.approx(1.15)
    assert found.median_error == pytest.approx((1 - 1.1 / 1.3 + 1.2 / 1.1 - 1) / 2)
    assert found.worst_error == pytest.approx(0.2)
    assert found.count == 4


def test_a_correction_stays_within_reason():
    assert correction_of([entry(100, 1000)] * 5) == 2.0
    assert correction_of([entry(100, 1)] * 5) == 0.5


def test_a_process_that_did_other_things_before_counts_for_nothing():
    entries = [entry(100, 900, fresh=False)] * 5
    assert summary(entries).count == 0 and correction_of(entries) == 1.0


def test_runs_of_other_machines_and_torn_lines_are_left_out(tmp_path):
    remember(tmp_path, entry(1, 2))
    remember(tmp_path, entry(3, 4, machine="another"))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"time": "2026", "mach')
    assert past_plans(tmp_path, "m") == [entry(1, 2)]
    remember(tmp_path, entry(5, 6))
    assert past_plans(tmp_path, "m") == [entry(1, 2), entry(5, 6)]
    assert [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]


def test_a_newer_versions_fields_are_passed_over(tmp_path):
    values = {**vars(entry(1, 2)), "moon": "full"}
    (tmp_path / FILE).write_text(json.dumps(values) + "\n[]\n7\n")
    assert past_plans(tmp_path, "m") == [entry(1, 2)]


def test_no_file_is_no_past(tmp_path):
    assert past_plans(tmp_path / "nowhere", "m") == []


def test_the_file_stays_small_and_keeps_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "_MOST_LINES", 10)
    monkeypatch.setattr(history, "_KEPT_LINES", 4)
    for number in range(25):
        remember(tmp_path, entry(1, 100 + number))
        assert len((tmp_path / FILE).read_text().splitlines()) <= 10
    assert past_plans(tmp_path, "m")[-1].measured_bytes == 124


def test_only_the_newest_runs_count(tmp_path):
    for number in range(25):
        remember(tmp_path, entry(1, 100 + number))
    assert [one.measured_bytes for one in past_plans(tmp_path, "m")] == list(range(105, 125))


def test_runs_that_end_at_once_are_all_remembered(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: remember(tmp_path, entry(1, 1 + n)), range(16)))
    assert {one.measured_bytes for one in past_plans(tmp_path, "m")} == set(range(1, 17))


def test_the_time_of_a_step_by_past_runs_is_that_of_the_same_model():
    entries = [
        entry(1, 1, seconds_per_token=0.01),
        entry(1, 1, seconds_per_token=0.03),
        entry(1, 1, seconds_per_token=0.02),
        entry(1, 1, seconds_per_token=9.0, model="b"),
        entry(1, 1, seconds_per_token=0.0),
    ]
    found = time_by_past_runs(entries, model="a", tokens_of_step=100)
    assert found is not None and found.seconds == pytest.approx(2.0)
    assert "3 runs" in found.words and found.source == "past runs"
    assert time_by_past_runs(entries, model="c", tokens_of_step=100) is None

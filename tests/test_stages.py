"""How far a stage is, and when its pace is believed."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_keras_tune import stages


def test_the_first_bytes_of_many_say_nothing_of_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stages, "monotonic", lambda: now[0])
    told: list[Any] = []
    report = stages.progress_of("model", told.append)
    for seconds, done in ((1.0, 0), (2.0, 19), (3.0, 20), (10.0, 500), (20.0, 1000)):
        now[0] = seconds
        report("weights", done, 1000)
    lefts = [event.seconds_left for event in told]
    assert lefts[:2] == [None, None]
    assert lefts[2:] == pytest.approx([3.0 * 980 / 20, 10.0, 0.0])

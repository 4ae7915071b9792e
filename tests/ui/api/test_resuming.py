"""A stream of events that is cut anywhere and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_keras_tune.events import read_events, resolved
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune_ui.api import streams
from tests.ui.api.world import write_events


@pytest.fixture(scope="module")
def cut_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of three attempts, two of which were torn."""
    run = RunFolder(tmp_path_factory.mktemp("cut") / "run")
    write_events(run, steps=7)
    for attempt, first in ((2, 4), (3, 6)):
        with run.events.open("ab") as file:
            file.write(b'{"seq": 99, "att')
        write_events(run, steps=5, first=first, attempt=attempt)
    return run.events


@given(cuts=st.lists(st.integers(0, 40), max_size=6), view=st.sampled_from(["raw", "resolved"]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_resuming_at_any_number_gives_the_whole_without_gap_or_double(cut_run, cuts, view):
    """Read in pieces, each cut off somewhere and gone on with at its last number."""

    def read(after: int) -> list[int]:
        history = streams._resolved(cut_run, after) if view == "resolved" else None
        lines, seen = history or ([], after)
        rest = streams.Tail(cut_run, after_seq=seen).read()
        return [seq for seq, _ in lines] + [line.seq for line in rest]

    records = list(read_events(cut_run))
    whole = [one.seq for one in (resolved(records) if view == "resolved" else records)]
    got: list[int] = []
    for cut in [*cuts, 1000]:
        got += read(got[-1] if got else 0)[:cut]
    assert got == whole

"""The event file: numbered, append-only, and readable whatever a kill left in it."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gemma_keras_tune import durable
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.events import (
    CheckpointSaved,
    ControlApplied,
    ControlRefused,
    Event,
    EventWriter,
    Load,
    Note,
    Progress,
    Record,
    RolledBack,
    RunEnded,
    RunStarted,
    Sample,
    StageEnded,
    StageStarted,
    Step,
    Validation,
    Warned,
    last_record,
    read_events,
    resolved,
)

EVERY_KIND: list[Event] = [
    RunStarted(resumed_from=3, name="first", device="cpu", versions={"jax": "0.10"}),
    StageStarted(stage="data"),
    Progress(stage="data", done=3, total=10, seconds_left=1.5),
    StageEnded(stage="data", seconds=0.25),
    Validation(step=4, loss=1.0, perplexity=math.e, tokens=100, best=True),
    CheckpointSaved(step=4, seconds=0.2, bytes=1234, reason="steps"),
    Sample(step=4, prompt="Grüße\n", text='"\u2028🙂'),
    Warned(code="LOW_SHARE", message="few answer tokens"),
    Note(message="hello"),
    ControlApplied(id="c1", command="set", step=4, key="learning_rate", value=1e-4),
    ControlRefused(id="c2", command="set", step=4, key="patience", value=1, reason="no rows"),
    RolledBack(step=4, bad_step=7),
    Validation(
        step=4,
        loss=1.0,
        perplexity=math.e,
        tokens=100,
        best=True,
        label_rows=8,
        accuracy=0.5,
        macro_f1=0.4,
        confidence={"ham": 0.9},
    ),
    Load(
        cpu_percent=150.0,
        rss_bytes=10,
        peak_rss_bytes=20,
        machine_cpu_percent=80.0,
        machine_memory_bytes=30,
        machine_memory_total_bytes=40,
        device_bytes=50,
        peak_device_bytes=60,
        device_limit_bytes=70,
        device_percent=None,
    ),
    RunEnded(status="stopped", code="STOPPED", message="bye", step=4),
]


def step(number: int, loss: float = 1.0) -> Step:
    return Step(
        step=number,
        total_steps=100,
        epoch=number / 100,
        loss=loss,
        tokens=64,
        answer_tokens=8,
        learning_rate=1e-4,
        grad_norm=0.5,
        seconds=0.1,
        tokens_per_s=640.0,
    )


def events_in(path: Path) -> list[Any]:
    return [record.event for record in read_events(path)]


def messages_in(path: Path) -> list[tuple[int, str]]:
    """The numbers and texts of a file that holds notes only."""
    return [
        (record.seq, record.event.message)
        for record in read_events(path)
        if isinstance(record.event, Note)
    ]


def test_every_kind_of_event_reads_back_as_it_was_written(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 1) as write:
        for event in [*EVERY_KIND, step(1)]:
            write(event)
    records = list(read_events(path))
    assert [record.event for record in records] == [*EVERY_KIND, step(1)]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert {record.attempt for record in records} == {1}


def test_a_line_is_one_flat_json_object(tmp_path):
    with EventWriter(tmp_path / "events.jsonl", 2) as write:
        write(Note(message="two\nlines"))
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {"seq": 1, "attempt": 2, "kind": "note", "message": "two\nlines"}


def test_a_loss_that_is_not_a_number_survives_as_such(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 1) as write:
        write(step(1, loss=math.nan))
        write(step(2, loss=math.inf))
    first, second = events_in(path)
    assert math.isnan(first.loss)
    assert second.loss == math.inf
    assert "NaN" not in json.dumps(json.loads(path.read_bytes().splitlines()[1]), allow_nan=False)


def test_scalars_of_numpy_become_plain_floats():
    float32: Any = np.float32
    event = step(1, loss=float32(0.5))
    assert type(event.loss) is float
    assert event.loss == 0.5


def test_a_misspelt_or_missing_field_is_refused():
    with pytest.raises(ValidationError):
        Note.model_validate({"mesage": "x"})
    with pytest.raises(ValidationError):
        Step.model_validate({"step": 1})
    with pytest.raises(ValidationError):
        CheckpointSaved.model_validate({"step": 1, "seconds": 1, "bytes": 1, "reason": "because"})


def test_text_that_utf8_cannot_hold_does_not_stop_a_run(tmp_path):
    with EventWriter(tmp_path / "e", 1) as write:
        write(Note(message="file \udcff.csv"))
    assert messages_in(tmp_path / "e") == [(1, "file ?.csv")]


def test_numbers_go_on_over_attempts(tmp_path):
    path = tmp_path / "events.jsonl"
    for attempt in (1, 2, 3):
        with EventWriter(path, attempt) as write:
            write(Note(message="a"))
            write(Note(message="b"))
    records = list(read_events(path))
    assert [(r.seq, r.attempt) for r in records] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]


def test_only_what_came_later_is_read_on_request(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 1) as write:
        for n in range(5):
            write(Note(message=str(n)))
    assert [record.seq for record in read_events(path, after_seq=3)] == [4, 5]
    assert list(read_events(path, after_seq=5)) == []


def test_a_file_that_is_not_there_is_empty(tmp_path):
    assert list(read_events(tmp_path / "none")) == []
    assert last_record(tmp_path / "none") is None


def test_a_last_line_torn_anywhere_is_dropped_kept_and_written_after(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 1) as write:
        write(Note(message="whole"))
        write(Note(message="torn"))
    data = path.read_bytes()
    first_line_ends = data.index(b"\n") + 1
    for cut in range(first_line_ends + 1, len(data)):
        path.write_bytes(data[:cut])
        assert messages_in(path) == [(1, "whole")]
        with EventWriter(path, 2) as write:
            write(Note(message="after"))
        assert path.read_bytes().startswith(data[:cut]), "what was there must stay"
        records = list(read_events(path))
        seqs = [record.seq for record in records]
        assert records[-1].event == Note(message="after")
        assert seqs == sorted(set(seqs))
        # All but the line break was out: the line is whole, and counts from now on.
        assert len(records) == (3 if cut == len(data) - 1 else 2)


def test_zeros_that_a_power_cut_left_at_the_end_are_skipped(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 1) as write:
        write(Note(message="whole"))
    with open(path, "ab") as file:
        file.write(bytes(5000))
    with EventWriter(path, 2) as write:
        write(Note(message="after"))
    assert messages_in(path) == [(1, "whole"), (2, "after")]


def test_the_last_record_is_found_behind_a_long_torn_line(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 4) as write:
        write(Note(message="x" * 200_000))
        write(Note(message="y"))
    with open(path, "ab") as file:
        file.write(b'{"seq": 3, "attempt": 4, ' + b"z" * 300_000)
    last = last_record(path)
    assert last is not None
    assert last["seq"] == 2
    (path.parent / "torn only").write_bytes(b'{"seq": 3')
    assert last_record(path.parent / "torn only") is None


def test_an_event_of_a_newer_version_is_named_with_its_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"seq": 1, "attempt": 1, "time": "t", "kind": "teleported"}\n')
    with pytest.raises(TuneError, match=r"line 1.*'teleported'") as caught:
        list(read_events(path))
    assert caught.value.code == "EVENT_UNKNOWN"


def test_a_full_disk_is_one_clear_error_and_the_next_line_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path, 1)
    writer(Note(message="before"))

    def full(handle, data):
        os.write(handle, bytes(data)[:7])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write", full)
        with pytest.raises(TuneError) as caught:
            writer(Note(message="lost"))
    assert caught.value.code == "NEEDS_SPACE"
    writer(Note(message="after"))
    writer.close()
    assert messages_in(path) == [(1, "before"), (2, "after")]


def test_threads_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 1) as write:

        def write_many() -> None:
            for _ in range(100):
                write(Note(message="m" * 500))

        threads = [threading.Thread(target=write_many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [record.seq for record in read_events(path)] == list(range(1, 401))


def test_a_killed_writer_leaves_a_readable_file_that_goes_on(tmp_path):
    path = tmp_path / "events.jsonl"
    code = (
        "import sys; from gemma_keras_tune.events import *\n"
        "write = EventWriter(sys.argv[1], int(sys.argv[2]))\n"
        "while True: write(Note(message='m' * 300))\n"
    )
    for attempt in (1, 2, 3):
        child = subprocess.Popen([sys.executable, "-c", code, str(path), str(attempt)])
        deadline = time.monotonic() + 30
        while (last_record(path) or {"attempt": 0})["attempt"] < attempt:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
    seqs = [record.seq for record in read_events(path)]
    assert seqs == list(range(1, len(seqs) + 1))


def records(*lines: tuple[int, Event]) -> list[Record]:
    return [
        Record(seq=n, attempt=attempt, time="t", event=event)
        for n, (attempt, event) in enumerate(lines, start=1)
    ]


def steps_of(found: list[Record]) -> list[tuple[int, int]]:
    return [(r.attempt, r.event.step) for r in found if isinstance(r.event, Step)]


def test_steps_done_again_count_once_as_the_newest_attempt_did_them():
    found = resolved(
        records(
            (1, RunStarted()),
            *[(1, step(n)) for n in (1, 2, 3, 4)],
            (2, RunStarted(resumed_from=2)),
            *[(2, step(n)) for n in (3, 4, 5)],
        )
    )
    assert steps_of(found) == [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5)]


def test_steps_beyond_where_a_newer_attempt_resumed_are_dropped_before_it_gets_there():
    found = resolved(
        records(
            (1, RunStarted()),
            *[(1, step(n)) for n in (1, 2, 3, 4)],
            (1, Validation(step=4, loss=1, perplexity=1, tokens=1, best=True)),
            (1, Validation(step=2, loss=1, perplexity=1, tokens=1, best=True)),
            (1, Note(message="stays")),
            (2, RunStarted(resumed_from=2)),
        )
    )
    assert steps_of(found) == [(1, 1), (1, 2)]
    assert [r.event.step for r in found if isinstance(r.event, Validation)] == [2]
    assert any(isinstance(r.event, Note) for r in found)


def test_an_attempt_in_between_that_fell_back_further_also_counts():
    # Attempt 2 fell back to 1 because a checkpoint was damaged, and attempt 3 went on from its 3.
    found = resolved(
        records(
            (1, RunStarted()),
            *[(1, step(n)) for n in (1, 2, 3)],
            (2, RunStarted(resumed_from=1)),
            *[(2, step(n)) for n in (2, 3, 4)],
            (3, RunStarted(resumed_from=3)),
            (3, step(4)),
        )
    )
    assert steps_of(found) == [(1, 1), (2, 2), (2, 3), (3, 4)]


def test_what_was_measured_again_at_the_resumed_step_counts_once():
    def validation(loss: float) -> Validation:
        return Validation(step=2, loss=loss, perplexity=1, tokens=1, best=True)

    found = resolved(
        records(
            (1, RunStarted()),
            (1, validation(1.0)),
            (2, RunStarted(resumed_from=2)),
            (2, validation(2.0)),
        )
    )
    assert [r.event for r in found if isinstance(r.event, Validation)] == [validation(2.0)]


def test_a_late_writer_of_an_old_attempt_changes_nothing():
    found = resolved(
        records(
            (1, RunStarted()),
            (1, step(1)),
            (2, RunStarted(resumed_from=1)),
            (2, step(2)),
            (1, step(2, loss=99.0)),
            (1, step(3, loss=99.0)),
        )
    )
    assert steps_of(found) == [(1, 1), (2, 2)]


def test_where_the_start_of_an_attempt_was_torn_its_first_step_says_where_it_resumed():
    found = resolved(records((1, step(1)), (1, step(2)), (1, step(3)), (2, step(2))))
    assert steps_of(found) == [(1, 1), (2, 2)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 8)),  # resumed at most from, steps done
        min_size=1,
        max_size=6,
    )
)
def test_however_often_a_run_is_interrupted_its_steps_have_no_gaps_and_no_repeats(history):
    lines: list[tuple[int, Event]] = []
    reached = 0
    for attempt, (resume, done) in enumerate(history, start=1):
        resumed_from = min(resume, reached)
        lines.append((attempt, RunStarted(resumed_from=resumed_from)))
        lines += [(attempt, step(resumed_from + n)) for n in range(1, done + 1)]
        reached = resumed_from + done
    steps = [number for _, number in steps_of(resolved(records(*lines)))]
    assert steps == list(range(1, reached + 1))


def test_importing_events_and_run_folder_loads_no_array_library():
    code = (
        "import sys; import gemma_keras_tune.events, gemma_keras_tune.run_folder\n"
        "print([m for m in ('numpy', 'jax', 'keras', 'tensorflow') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert out.stdout.strip() == "[]"


def test_what_was_rolled_back_counts_once_as_it_was_done_again():
    found = resolved(
        records(
            (1, RunStarted()),
            *[(1, step(n)) for n in (1, 2, 3, 4)],
            (1, Sample(step=4, prompt="a", text="b")),
            (1, RolledBack(step=2, bad_step=5)),
            *[(1, step(n)) for n in (3, 4, 5)],
            (1, RolledBack(step=4, bad_step=6)),
            *[(1, step(n)) for n in (5, 6)],
        )
    )
    assert [n for _, n in steps_of(found)] == [1, 2, 3, 4, 5, 6]
    assert not [r for r in found if isinstance(r.event, Sample)]
    assert len([r for r in found if isinstance(r.event, RolledBack)]) == 2


def test_only_the_kinds_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventWriter(path, 1) as write:
        write(Note(message="a"))
        write(RolledBack(step=1, bad_step=2))
        write(Note(message="b"))
    assert [r.seq for r in read_events(path, kinds=("rolled_back",))] == [2]
    assert [r.seq for r in read_events(path, kinds=("note",), after_seq=1)] == [3]

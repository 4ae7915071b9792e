"""Commands on their way to a run: checked before they are written, handed out once, answered."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune.control_file import (
    COMMANDS,
    SETTABLE,
    check,
    field_of,
    read_commands,
    send,
    send_to,
)
from gemma_keras_tune.control_inbox import Inbox
from gemma_keras_tune.errors import RecipeError, TuneError
from gemma_keras_tune.events import ControlApplied, ControlRefused, Event, EventWriter, RunEnded
from gemma_keras_tune.run_folder import RunFolder, open_for_writing
from tests.support.faulty_disk import FaultyDisk


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@contextmanager
def attempt(run: RunFolder) -> Iterator[tuple[Inbox, list[Event]]]:
    """An attempt's inbox, and what it has told."""
    told: list[Event] = []
    inbox = Inbox(run)
    with open_for_writing(run) as writer, EventWriter(run.events, writer.attempt) as events:

        def tell(event: Event) -> None:
            events(event)
            told.append(event)

        inbox.begin(tell)
        yield inbox, told


def refusals(told: list[Event]) -> list[tuple[str, str]]:
    return [(one.id, one.reason) for one in told if isinstance(one, ControlRefused)]


def test_what_is_sent_is_read_once_and_the_next_reading_begins_after_it(run: RunFolder) -> None:
    first = send(run.control, "set", key="learning_rate", value=1e-4, by="ada")
    commands, after = read_commands(run.control)
    assert [(c.id, c.command, c.key, c.value, c.by) for c in commands] == [
        (first, "set", "learning_rate", 1e-4, "ada")
    ]
    assert after == run.control.stat().st_size
    assert read_commands(run.control, after) == ([], after)
    second = send(run.control, "sample", value='Who?\n{"id": "x"}')
    assert [c.id for c in read_commands(run.control, after)[0]] == [second] != [first]


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        ({"command": "puase"}, "CONTROL_UNKNOWN", "'pause'"),
        ({"command": "xyz"}, "CONTROL_UNKNOWN", "checkpoint"),
        ({"command": "set"}, "CONTROL_KEY", "learning_rate=1e-4"),
        ({"command": "set", "key": "learning_rat", "value": 1}, "CONTROL_KEY", "'learning_rate'"),
        ({"command": "set", "key": "batch_tokens", "value": 8}, "CONTROL_KEY", "can't change"),
        ({"command": "set", "key": "learning_rate", "value": 2.0}, "CONTROL_VALUE", "equal to 1"),
        ({"command": "set", "key": "learning_rate", "value": 0}, "CONTROL_VALUE", "got 0"),
        ({"command": "set", "key": "learning_rate", "value": math.nan}, "CONTROL_VALUE", "nan"),
        ({"command": "set", "key": "learning_rate", "value": "fast"}, "CONTROL_VALUE", "'fast'"),
        ({"command": "set", "key": "patience", "value": 1.5}, "CONTROL_VALUE", "1.5"),
        ({"command": "set", "key": "end_step", "value": None}, "CONTROL_VALUE", "number of steps"),
        ({"command": "set", "key": "end_step", "value": 0}, "CONTROL_VALUE", "got 0"),
        ({"command": "pause", "key": "patience"}, "CONTROL_KEY", "takes no key"),
        ({"command": "pause", "value": 3}, "CONTROL_VALUE", "takes no value"),
        ({"command": "sample", "value": "  "}, "CONTROL_VALUE", "text"),
        ({"command": "sample", "value": "a\ud800"}, "CONTROL_VALUE", "text"),
        ({"command": "sample", "value": 3}, "CONTROL_VALUE", "text"),
    ],
)
def test_what_no_run_can_do_is_refused_before_it_is_written(
    run: RunFolder, asked: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(RecipeError, match=named) as caught:
        send(run.control, **asked)
    assert caught.value.code == code
    assert not run.control.exists()


def test_every_settable_key_has_a_field_with_bounds_and_a_meaning() -> None:
    assert all(field_of(key).metadata for key in SETTABLE if key != "patience")
    assert all(text.endswith(".") for text in (*SETTABLE.values(), *COMMANDS.values()))
    for key in ("evaluate_every_steps", "checkpoint_every_steps", "patience"):
        check("set", key=key, value=None)


def test_torn_lines_and_strange_ones_are_skipped_and_a_last_one_without_its_end_waits(
    run: RunFolder,
) -> None:
    run.control.write_bytes(
        b'{"id": "a", "comm\nnull\n[1]\n{"command": "stop"}\n\xff\xfe\n{"id": 3}\n'
    )
    whole = run.control.stat().st_size
    line = b'{"id": "b", "command": "pause"}'
    run.control.write_bytes(run.control.read_bytes() + line)
    assert read_commands(run.control) == ([], whole)
    sent = send(run.control, "stop")  # ends the torn line, and stands on one of its own
    assert [command.id for command in read_commands(run.control, whole)[0]] == ["b", sent]


def test_a_file_that_was_made_anew_is_read_from_its_start(run: RunFolder) -> None:
    send(run.control, "sample", value="a long prompt " * 20)
    _, after = read_commands(run.control)
    run.control.unlink()
    again = send(run.control, "stop")
    assert [command.id for command in read_commands(run.control, after)[0]] == [again]


def test_many_senders_at_once_tear_no_line(run: RunFolder) -> None:
    def send_some() -> None:
        for _ in range(20):
            send(run.control, "sample", value="x" * 5000)

    threads = [threading.Thread(target=send_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    commands, _ = read_commands(run.control)
    assert len({command.id for command in commands}) == 80


@pytest.mark.parametrize("fail_at", range(1, 6))
def test_a_command_that_a_full_disk_refused_is_not_there(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    kept = send(run.control, "pause")
    disk = FaultyDisk(fail_at=fail_at).install(monkeypatch)
    with pytest.raises(TuneError) as caught:
        send(run.control, "stop")
    assert caught.value.code == "NEEDS_SPACE"
    assert disk.calls >= fail_at
    left = [command.id for command in read_commands(run.control)[0]]
    assert left[:1] == [kept]
    assert fail_at > 3 or left == [kept]  # later only the folder's list of names is flushed


def test_a_run_that_nobody_works_on_is_refused_and_told_how_to_resume(run: RunFolder) -> None:
    with pytest.raises(TuneError, match=re.escape(f"resume {run.path.resolve()}")) as caught:
        send_to(run, "pause")
    assert caught.value.code == "NOT_RUNNING"
    with EventWriter(run.events, 1) as events:
        events(RunEnded(status="done"))
    with pytest.raises(TuneError, match="is done"):
        send_to(run, "pause")
    assert not run.control.exists()
    with attempt(run) as (inbox, _):
        sent = send_to(run, "pause")
        command = inbox.take()
        assert command is not None and command.id == sent


def test_a_typo_is_told_even_where_nobody_works(run: RunFolder) -> None:
    with pytest.raises(RecipeError, match="'pause'"):
        send_to(run, "pase")


def test_commands_are_handed_out_in_order_and_each_id_once(run: RunFolder) -> None:
    with attempt(run) as (inbox, told):
        assert inbox.take() is None
        sent = [send(run.control, "pause"), send(run.control, "resume")]
        lines = run.control.read_bytes()
        run.control.write_bytes(lines + lines)
        taken = [inbox.take(), inbox.take(), inbox.take()]
        assert [command and command.id for command in taken] == [*sent, None]
        assert taken[0] is not None
        inbox.apply(taken[0], 7)
    (answer,) = [event for event in told if isinstance(event, ControlApplied)]
    assert (answer.id, answer.step, answer.command) == (sent[0], 7, "pause")
    run.control.write_bytes(run.control.read_bytes() + lines)
    with attempt(run) as (inbox, told):
        assert inbox.take() is None
        assert [event.id for event in inbox.applied] == [sent[0]]


def test_a_wrong_line_that_somebody_wrote_by_hand_is_refused_with_the_reason(
    run: RunFolder,
) -> None:
    with attempt(run) as (inbox, told):
        run.control.write_text('{"id": "hand", "command": "set", "key": "seed", "value": 1}\n')
        sent = send(run.control, "pause")
        command = inbox.take()
        assert command is not None and command.id == sent
    ((refused, reason),) = refusals(told)
    assert refused == "hand" and "'seed'" in reason


def test_what_was_left_over_is_refused_and_not_obeyed_by_the_next_attempt(run: RunFolder) -> None:
    left = send(run.control, "stop")
    with attempt(run) as (inbox, told):
        assert not inbox.stop_waiting() and inbox.take() is None
        assert [one for one, _ in refusals(told)] == [left]
        assert "Ask again" in refusals(told)[0][1]
    with attempt(run) as (inbox, told):
        assert not told


def test_what_is_sent_while_an_attempt_begins_counts(run: RunFolder) -> None:
    left = send(run.control, "pause")
    inbox, told = Inbox(run), list[Event]()
    fresh = send(run.control, "checkpoint")
    inbox.begin(told.append)
    command = inbox.take()
    assert command is not None and command.id == fresh
    assert [one for one, _ in refusals(told)] == [left]


def test_a_waiting_stop_is_seen_and_the_rest_is_refused_at_the_end(run: RunFolder) -> None:
    with attempt(run) as (inbox, told):
        kept = send(run.control, "checkpoint")
        assert not inbox.stop_waiting()
        stop = send(run.control, "stop")
        assert inbox.stop_waiting()
        inbox.accept_stop(3)
        assert not inbox.stop_waiting()
        inbox.refuse_rest("The run was stopped.")
    assert [(e.id, e.step) for e in told if isinstance(e, ControlApplied)] == [(stop, 3)]
    assert refusals(told) == [(kept, "The run was stopped.")]


def test_the_lines_are_what_the_web_app_expects(run: RunFolder) -> None:
    sent = send(run.control, "set", key="patience", value=None, by="web")
    line = json.loads(run.control.read_text())
    assert set(line) == {"id", "command", "key", "value", "by", "time"}
    assert (line["id"], line["key"], line["value"], line["by"]) == (sent, "patience", None, "web")

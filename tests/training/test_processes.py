"""Two real processes that train one model together, through the command that people use."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemma_keras_tune.control_file import send_to
from gemma_keras_tune.events import ControlApplied, RolledBack, Step, Validation, read_events
from gemma_keras_tune.run_folder import RunFolder
from tests.support.command_line import (
    ROOT,
    environment,
    run_command,
    save_tiny_model,
    write_recipe,
    write_rows,
)

pytestmark = pytest.mark.slow
STEPS = 40


class Place:
    """A model, rows and a recipe, and runs of it by two processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = save_tiny_model(folder / "model")
        write_rows(folder / "rows.csv", count=200)
        self.recipe = write_recipe(
            folder / "recipe.toml",
            data="rows.csv",
            preset=str(model),
            epochs=30,
            max_steps=STEPS,
            batch_tokens=512,
            micro_batch_tokens=128,
            learning_rate=0.01,
            evaluate_every_steps=5,
            checkpoint_every_steps=3,
        )

    def start(
        self,
        name: str,
        process: int,
        port: int,
        *more: str,
        devices: int = 1,
        program: Sequence[str] = ("gemma_keras_tune",),
    ) -> subprocess.Popen[str]:
        """One of the two processes, with so many devices; `program` is a module and arguments."""
        flag = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        meeting = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
        command = [sys.executable, "-m", *program, "train", str(self.recipe)]
        return subprocess.Popen(
            [*command, "--run-dir", str(self.folder / name), *meeting, "--process", str(process)]
            + list(more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=environment(self.folder / f"home-{process}") | flag,
        )

    @contextmanager
    def both(self, name: str, *more: str, **how: Any) -> Iterator[list[subprocess.Popen[str]]]:
        """Two processes that are ended, whatever happens; `how` as in `start`."""
        port = free_port()
        pair = [self.start(name, process, port, *more, **how) for process in (0, 1)]
        try:
            yield pair
        finally:
            for one in pair:
                one.kill()
                one.wait(timeout=30)

    def steps(self, name: str) -> dict[int, float]:
        """The last loss that the events tell of each step."""
        records = read_events(self.folder / name / "events.jsonl", kinds=("step",))
        steps = [record.event for record in records if isinstance(record.event, Step)]
        return {step.step: step.loss for step in steps}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def ended(pair: list[subprocess.Popen[str]]) -> list[str]:
    """What both said, once they have ended."""
    return [one.communicate(timeout=240)[0] for one in pair]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def straight(place: Place) -> dict[int, float]:
    """The losses of a run that two processes did without being disturbed."""
    with place.both("straight") as pair:
        said = ended(pair)
        assert [one.returncode for one in pair] == [0, 0], "\n".join(said)
    assert "process 0 measures and exports" in said[1]
    return place.steps("straight")


def test_two_processes_give_the_curve_of_one(place: Place, straight: dict[int, float]) -> None:
    alone = run_command(
        "train", str(place.recipe), "--run-dir", str(place.folder / "alone"),
        home=place.folder / "home-alone",
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    losses = place.steps("alone")
    assert straight.keys() == losses.keys() == set(range(1, STEPS + 1))
    np.testing.assert_allclose(list(straight.values()), list(losses.values()), rtol=1e-5)
    reports = [read_json(place.folder / name / "report.json") for name in ("alone", "straight")]
    assert reports[0]["rows"] == reports[1]["rows"] > 0


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not what():
        assert time.monotonic() < until, "the run doesn't get on"
        time.sleep(0.05)


def wait_for_checkpoint(place: Place, name: str) -> None:
    events = place.folder / name / "events.jsonl"
    wait_for(lambda: events.exists() and any(read_events(events, kinds=("checkpoint",))))


@pytest.mark.parametrize("victim", [0, 1])
def test_one_is_killed_and_both_go_on(
    place: Place, straight: dict[int, float], victim: int
) -> None:
    name = f"killed-{victim}"
    with place.both(name) as pair:
        wait_for_checkpoint(place, name)
        os.kill(pair[victim].pid, signal.SIGKILL)
        said = pair[1 - victim].communicate(timeout=120)[0]
        assert pair[1 - victim].returncode not in (0, None)
    if victim == 1:
        assert "another process of this run is gone" in said, said
    with place.both(name) as pair:
        said = "\n".join(ended(pair))
        assert [one.returncode for one in pair] == [0, 0], said
    assert "Resumed after step" in (place.folder / name / "events.jsonl").read_text()
    assert place.steps(name) == straight  # bit for bit


def test_a_stop_asked_of_any_stops_both_with_a_checkpoint(
    place: Place, straight: dict[int, float]
) -> None:
    with place.both("stopped") as pair:
        wait_for_checkpoint(place, "stopped")
        pair[1].send_signal(signal.SIGTERM)
        said = "\n".join(ended(pair))
        assert [one.returncode for one in pair] == [75, 75], said
        assert "Go on with the same command on all machines." in said
    done = len(place.steps("stopped"))
    assert 3 <= done < STEPS
    with place.both("stopped") as pair:
        said = "\n".join(ended(pair))
        assert [one.returncode for one in pair] == [0, 0], said
    assert place.steps("stopped") == straight


def test_what_the_run_is_asked_for_counts_for_both(place: Place) -> None:
    """With hardly any learning rate nothing moves; a process that went on learning would."""
    run = RunFolder(place.folder / "asked")
    with place.both("asked", "--set", "train.max_steps=400", "--set", "train.epochs=400") as pair:
        wait_for_checkpoint(place, "asked")
        send_to(run, "set", key="learning_rate", value=1e-12)
        wait_for(lambda: len(validations_after_the_change(run)) > 3)
        send_to(run, "stop")
        said = "\n".join(ended(pair))
        assert [one.returncode for one in pair] == [75, 75], said
    steps = place.steps("asked")
    assert steps.keys() == set(range(1, len(steps) + 1)) and len(steps) < 400
    losses = validations_after_the_change(run)
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)
    assert abs(losses[0] - steps[1]) > 0.05  # it had learned before


def validations_after_the_change(run: RunFolder) -> list[float]:
    """Losses of the measurements after the learning rate was changed."""
    events = [record.event for record in read_events(run.events)]
    changed = [event.step for event in events if isinstance(event, ControlApplied)]
    return [
        event.loss
        for event in events
        if isinstance(event, Validation) and changed and event.step > changed[0]
    ]


def test_both_go_back_to_the_same_checkpoint_after_a_step_that_is_not_a_number(
    place: Place, straight: dict[int, float]
) -> None:
    spoiled = ("tests.support.spoiled_command", "8")
    with place.both("spoiled", "--set", "train.on_nan=roll_back", program=spoiled) as pair:
        said = "\n".join(ended(pair))
        assert [one.returncode for one in pair] == [0, 0], said
    events = read_events(place.folder / "spoiled" / "events.jsonl", kinds=("rolled_back",))
    (back,) = [record.event for record in events]
    assert isinstance(back, RolledBack)
    assert (back.step, back.bad_step) == (6, 8)
    assert place.steps("spoiled") == straight  # bit for bit


def test_processes_with_other_recipes_are_refused(place: Place) -> None:
    port = free_port()
    pair = [
        place.start("differ", 0, port),
        place.start("differ", 1, port, "--set", "train.learning_rate=0.02"),
    ]
    said = ended(pair)
    assert [one.returncode for one in pair] == [2, 2], "\n".join(said)
    assert all("don't train the same" in one for one in said)
    assert "train section" in said[1]


def test_two_processes_with_two_devices_each_hold_half_the_matrices_on_each(
    place: Place, straight: dict[int, float]
) -> None:
    with place.both("cut", "--set", "mesh.model=2", devices=2) as pair:
        said = "\n".join(ended(pair))
        assert [one.returncode for one in pair] == [0, 0], said
    assert "On 4 devices: data 2 x model 2." in (place.folder / "cut" / "events.jsonl").read_text()
    losses = place.steps("cut")
    np.testing.assert_allclose(list(losses.values()), list(straight.values()), rtol=1e-5)
    assert read_json(place.folder / "cut" / "report.json")["rows"] > 0


def test_processes_that_would_deal_rows_otherwise_are_refused(place: Place) -> None:
    port = free_port()
    other = ("--set", "train.micro_batch_tokens=256")
    pair = [place.start("dealt", 0, port), place.start("dealt", 1, port, *other)]
    said = ended(pair)
    assert [one.returncode for one in pair] == [2, 2], "\n".join(said)
    assert "the way to compute differ" in said[1]

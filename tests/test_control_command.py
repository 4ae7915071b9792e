"""`control RUN` against a run in another process: asked, answered by step, refused in words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from typer.testing import CliRunner

from gemma_keras_tune import cli, pipeline
from gemma_keras_tune.control_file import send
from gemma_keras_tune.errors import StoppedWithCheckpoint
from gemma_keras_tune.events import (
    ControlApplied,
    ControlRefused,
    Event,
    EventWriter,
    Load,
    RunEnded,
    Sample,
    StageStarted,
    Step,
    Validation,
    read_events,
)
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import HOME_VARIABLE, RunFolder, open_for_writing
from tests.support.command_line import (
    environment,
    run_command,
    save_tiny_model,
    write_recipe,
    write_rows,
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


def call(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[Event], RunFolder]]:
    """A run that another thread works on, and that answers the next command as it is told."""
    folder = RunFolder(tmp_path / "run")
    over, threads = threading.Event(), list[threading.Thread]()

    def answer_with(event: Event) -> RunFolder:
        ready = threading.Event()

        def work() -> None:
            with (
                open_for_writing(folder) as writer,
                EventWriter(folder.events, writer.attempt) as e,
            ):
                e(StageStarted(stage="training"))
                ready.set()
                while not over.wait(0.01):
                    written = folder.control.read_text() if folder.control.exists() else ""
                    if written.endswith("\n"):  # else its line is still being written
                        asked = json.loads(written.splitlines()[-1])
                        if isinstance(event, ControlApplied) and event.command == "sample":
                            e(Sample(step=event.step, prompt="Who?", text="Nobody."))
                        e(event.model_copy(update={"id": asked["id"]}))
                        over.wait(5)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        assert ready.wait(10)
        return folder

    yield answer_with
    over.set()
    for thread in threads:
        thread.join()


def test_a_setting_is_asked_for_and_the_answer_s_step_is_shown(
    answering: Callable[[Event], RunFolder],
) -> None:
    run = answering(ControlApplied(id="", command="set", step=7, key="patience", value=None))
    result = call("control", run.path, "set", "patience=none", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout.splitlines()[-1])
    assert (said["status"], said["step"], said["key"], said["value"]) == (
        "applied", 7, "patience", None,
    )  # fmt: skip
    line = json.loads(run.control.read_text())
    assert (line["id"], line["command"], line["value"]) == (said["id"], "set", None)
    assert line["by"] == "command line"


def test_a_pause_says_how_to_go_on(answering: Callable[[Event], RunFolder]) -> None:
    run = answering(ControlApplied(id="", command="pause", step=3))
    result = call("control", run.path, "pause")
    assert "Paused after step 3" in result.stdout
    assert f"control {run.path} resume" in result.stdout.replace(str(Path.cwd()) + "/", "")


def test_a_sample_shows_its_answers(answering: Callable[[Event], RunFolder]) -> None:
    run = answering(ControlApplied(id="", command="sample", step=3))
    result = call("control", run.path, "sample", "Who?")
    assert result.stdout.splitlines() == ["After step 3:", "> Who?", "Nobody."]


def test_what_the_run_refuses_is_an_error_with_its_reason(
    answering: Callable[[Event], RunFolder],
) -> None:
    run = answering(ControlRefused(id="", command="resume", reason="It is not paused."))
    result = call("control", run.path, "resume", "--json")
    assert result.exit_code == 2
    assert "CONTROL_REFUSED" in result.stderr and "It is not paused." in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["status"] == "refused"


def test_no_answer_yet_is_said_as_such(answering: Callable[[Event], RunFolder]) -> None:
    run = answering(StageStarted(stage="model"))  # answers nothing
    result = call("control", run.path, "checkpoint", "--wait", "0.2")
    assert result.exit_code == 0 and "No answer within 0.2 s" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["puase"], "CONTROL_UNKNOWN", "'pause'"),
        (["set"], "CONTROL_KEY", "learning_rate=1e-4"),
        (["set", "learning_rate"], "CONTROL_KEY", "key=value"),
        (["set", "learning-rate=1e-4"], "CONTROL_KEY", "'learning_rate'"),
        (["set", "learning_rate=7"], "CONTROL_VALUE", "less than or equal to 1"),
        (["pause", "now"], "CONTROL_VALUE", "takes no value"),
    ],
)
def test_a_typo_is_one_clear_line_and_nothing_is_written(
    answering: Callable[[Event], RunFolder], words: list[str], code: str, named: str
) -> None:
    run = answering(ControlApplied(id="", command="pause", step=3))
    result = call("control", run.path, *words)
    assert result.exit_code == 2 and code in result.stderr and named in result.stderr
    assert not run.control.exists()


def test_a_run_that_is_done_or_that_nobody_works_on_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    with EventWriter(run.events, 1) as events:
        events(Step.model_construct(kind="step"))
    (run.path / "events.jsonl").write_text("")
    with EventWriter(run.events, 1) as events:
        events(RunEnded(status="stopped"))
    result = call("control", run.path, "pause")
    assert result.exit_code == 2 and f"resume {run.path}" in result.stderr
    with EventWriter(run.events, 2) as events:
        events(RunEnded(status="done"))
    result = call("control", run.path, "pause")
    assert result.exit_code == 2 and "NOT_RUNNING" in result.stderr and "is done" in result.stderr
    assert not run.control.exists()


@pytest.fixture
def recipe(tmp_path: Path, model_folder: Path) -> Path:
    write_rows(tmp_path / "rows.csv")
    return write_recipe(
        tmp_path / "tiny.toml",
        data="rows.csv",
        preset=str(model_folder),
        epochs=4,
        batch_tokens=128,
        micro_batch_tokens=128,
        sample_prompts='["win a prize"]',
        sample_every_steps=4,
        sample_max_tokens=4,
    )


@pytest.mark.slow
def test_the_pipeline_samples_measures_labels_tells_the_load_and_closes_its_inbox(
    tmp_path: Path, recipe: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    late: list[str] = []

    def ask(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "evaluation":
            late.append(send(folder.control, "pause"))

    loaded = load_recipe(recipe, {"evaluate.samples": 0, "export": [{"format": "peft"}]})
    pipeline.run(loaded, folder.path, on_event=ask)
    events = [record.event for record in read_events(folder.events)]
    samples = [event for event in events if isinstance(event, Sample)]
    assert [event.step for event in samples][:2] == [4, 8]
    measured = [event for event in events if isinstance(event, Validation)]
    assert all(set(event.confidence or ()) <= {"ham", "spam"} for event in measured)
    assert all(event.label_rows and event.accuracy is not None for event in measured)
    (refused,) = [event for event in events if isinstance(event, ControlRefused)]
    assert refused.id == late[0] and "Training is over" in refused.reason
    loads = [event for event in events if isinstance(event, Load)]
    assert loads and loads[-1].peak_rss_bytes >= loads[0].rss_bytes > 10**8
    assert isinstance(events[-1], RunEnded) and events[-1].status == "done"


def test_a_stop_before_training_is_obeyed_and_answered(tmp_path: Path, recipe: Path) -> None:
    folder = RunFolder(tmp_path / "run")

    def ask(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "data":
            send(folder.control, "checkpoint")
            send(folder.control, "stop")

    with pytest.raises(StoppedWithCheckpoint):
        pipeline.run(load_recipe(recipe), folder.path, on_event=ask)
    events = [record.event for record in read_events(folder.events)]
    answers = [e for e in events if isinstance(e, ControlApplied | ControlRefused)]
    assert [(e.kind, e.command) for e in answers] == [
        ("control_applied", "stop"),
        ("control_refused", "checkpoint"),
    ]
    assert isinstance(events[-1], RunEnded) and events[-1].status == "stopped"


# -- real processes ------------------------------------------------------------------------------


def start(recipe: Path, run: Path, home: Path, *settings: str) -> subprocess.Popen[str]:
    words = [word for one in settings for word in ("--set", one)]
    command = [sys.executable, "-m", "gemma_keras_tune", "train", str(recipe), *words]
    return subprocess.Popen(
        [*command, "--set", "evaluate.samples=0", "--run-dir", str(run)],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_in(run: Path) -> int:
    events = run / "events.jsonl"
    return events.read_text().count('"kind":"step"') if events.exists() else 0


def wait_until(done: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not done():
        assert time.monotonic() < deadline and child.poll() is None, "it never happened"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_of_another_process_is_paused_changed_killed_and_resumed_to_the_same_bits(
    tmp_path: Path, recipe: Path, home: Path
) -> None:
    """Paused at whatever step it had come to, so the straight run is told to change it there."""
    run = tmp_path / "run"
    child = start(recipe, run, home, "train.epochs=300", "train.max_steps=400")
    wait_until(lambda: steps_in(run) >= 3, child)
    paused = run_command("control", str(run), "pause", "--json", "--wait", "240", home=home)
    assert paused.returncode == 0, paused.stderr
    step = json.loads(paused.stdout.splitlines()[-1])["step"]
    count = steps_in(run)
    second = run_command("resume", str(run), home=home)
    assert second.returncode == 2 and "RUN_LOCKED" in second.stderr  # two writers on one run
    changed = run_command("control", str(run), "set", "learning_rate=1e-5", "--json", home=home)
    assert json.loads(changed.stdout.splitlines()[-1])["step"] == step
    end = run_command("control", str(run), "set", f"end_step={step + 12}", home=home)
    assert end.returncode == 0, end.stderr
    assert steps_in(run) == count and child.poll() is None
    went_on = run_command("control", str(run), "resume", home=home)
    assert went_on.returncode == 0, went_on.stderr
    wait_until(lambda: steps_in(run) >= count + 3, child)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    dead = run_command("control", str(run), "pause", home=home)
    assert dead.returncode == 2 and "NOT_RUNNING" in dead.stderr
    resumed = run_command("resume", str(run), home=home)
    assert resumed.returncode == 0, resumed.stderr

    straight = RunFolder(tmp_path / "straight")
    sent: list[int] = []

    def ask(event: Event) -> None:
        if isinstance(event, Step) and event.step == step and not sent:
            sent.append(step)
            send(straight.control, "set", key="learning_rate", value=1e-5)
            send(straight.control, "set", key="end_step", value=step + 12)

    settings = {"train.epochs": 300, "train.max_steps": 400, "evaluate.samples": 0}
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)  # as in the children
    try:
        pipeline.run(load_recipe(recipe, settings), straight.path, on_event=ask)
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    adapters = [folder / "adapter/adapter_model.safetensors" for folder in (run, straight.path)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    for folder in (run, straight.path):
        assert json.loads((folder / "lineage.json").read_text())["changes"] == [
            {"after_step": step, "setting": "learning_rate", "value": 1e-5},
            {"after_step": step, "setting": "end_step", "value": step + 12},
        ]
    assert os.path.getsize(adapters[0]) > 0


@pytest.mark.slow
def test_sigterm_while_paused_ends_with_75(tmp_path: Path, recipe: Path, home: Path) -> None:
    run = tmp_path / "run"
    child = start(recipe, run, home, "train.epochs=300", "train.max_steps=400")
    wait_until(lambda: steps_in(run) >= 2, child)
    paused = run_command("control", str(run), "pause", "--wait", "240", home=home)
    assert "Paused after step" in paused.stdout, paused.stderr
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 75, said
    assert "Paused after step" in said and "Go on with" in said

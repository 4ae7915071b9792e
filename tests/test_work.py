"""Jobs in processes of their own: what they leave, how they stop, and that none is done twice."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_keras_tune.control_file import send
from gemma_keras_tune.durable import sha256_file
from gemma_keras_tune.events import AnswerText, Progress, RunEnded, RunStarted, read_events
from gemma_keras_tune.job_folder import JobFolder, job_state, read_result
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.work import work
from gemma_keras_tune.writing import open_for_writing
from tests.support.command_line import write_rows
from tests.support.jobs import (
    finish,
    make_job,
    result_of,
    save_model,
    start,
    tiny_recipe,
    values_of,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def model(root) -> Path:
    return save_model(root / "model")


@pytest.fixture(scope="module")
def trained(root, model) -> JobFolder:
    """A finished `train` job; its run is `first`."""
    job = make_job(root, "train", {"recipe": tiny_recipe(root, model)}, run="first")
    assert work(job.path) == 0, job.events.read_text()
    return job


def kinds(job: JobFolder) -> list[str]:
    return [record.event.kind for record in read_events(job.events)]


def wait_for(what, *, seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def test_a_train_job_makes_its_run_and_says_so(root, trained):
    result = result_of(trained)
    assert result.status == "done"
    assert result.value["run"] == "first"
    run = RunFolder(root / "runs" / "first")
    assert result.value["report"] == json.loads(run.report_json.read_text())
    assert run.adapter.is_dir()


def test_the_jobs_own_events_are_its_start_its_progress_and_its_end(trained):
    events = [record.event for record in read_events(trained.events)]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    progress = [event for event in events[1:-1] if isinstance(event, Progress)]
    assert len(progress) == len(events) - 2
    assert {event.stage for event in progress} >= {"model", "training"}


def test_a_job_that_has_its_result_is_not_done_twice(trained):
    before = trained.events.read_bytes()
    assert work(trained.path) == 0
    assert trained.events.read_bytes() == before


def test_a_train_job_whose_run_is_done_only_writes_the_result(root, model, trained):
    run = RunFolder(root / "runs" / "first")
    before = run.events.read_bytes()
    job = make_job(root, "train", {"recipe": tiny_recipe(root, model)}, run="first")
    assert work(job.path) == 0
    assert run.events.read_bytes() == before


def test_a_run_of_another_recipe_is_refused_and_stays(root, model, trained):
    adapter = sha256_file(root / "runs" / "first" / "adapter" / "adapter_model.safetensors")
    recipe = tiny_recipe(root, model, epochs=2)
    job = make_job(root, "train", {"recipe": recipe}, run="first")
    done = RunFolder(root / "runs" / "first").events
    done.write_text(done.read_text().replace('"status": "done"', '"status": "failed"'))
    done.write_text(done.read_text().replace('"status":"done"', '"status":"failed"'))
    assert work(job.path) == 2
    result = result_of(job)
    assert result.code == "RUN_OTHER_RECIPE"
    after = sha256_file(root / "runs" / "first" / "adapter" / "adapter_model.safetensors")
    assert after == adapter


def test_data_that_cannot_be_used_is_a_failed_result_with_its_findings(root, model):
    bad = root / "bad.csv"
    bad.write_text("text,label\na b,ham\nc,spam,x\n")
    recipe = tiny_recipe(root, model)
    recipe["data"]["path"] = str(bad)
    job = make_job(root, "train", {"recipe": recipe}, run="bad")
    assert work(job.path) == 2
    result = result_of(job)
    assert (result.status, result.code) == ("failed", "CSV_RAGGED_ROW")
    assert result.value["findings"]
    assert kinds(job)[-1] == "run_ended"


def test_a_fault_of_ours_is_a_result_too_and_ends_with_one(root, monkeypatch, capsys):
    job = make_job(root, "plan", {"recipe": tiny_recipe(root, root / "nowhere")})

    def broken(*_: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("gemma_keras_tune.work.carry_out", broken)
    assert work(job.path) == 1
    result = result_of(job)
    assert (result.status, result.code) == ("failed", "INTERNAL")
    assert "oops" in result.message
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "OUT_OF_MEMORY"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"), "OOM_DEVICE"),
    ],
)
def test_a_lack_of_memory_has_a_code_and_advice(root, monkeypatch, error, code):
    job = make_job(root, "plan", {"recipe": tiny_recipe(root, root / "nowhere")})

    def greedy(*_: object) -> None:
        raise error

    monkeypatch.setattr("gemma_keras_tune.work.carry_out", greedy)
    assert work(job.path) == 2
    result = result_of(job)
    assert result.code == code
    assert "micro_batch_tokens" in result.message


def test_a_damaged_job_is_a_result_and_not_a_death(root):
    job = make_job(root, "export", {"format": "peft"}, run="first")
    job.job_json.write_text('{"kind": "export", "run": "../x", "args": {"format": "peft"}}')
    assert work(job.path) == 2
    result = result_of(job)
    assert result.code == "JOB_INVALID"


def test_a_folder_without_a_job_is_told_and_nothing_is_made(root):
    code = subprocess.run(
        [sys.executable, "-m", "gemma_keras_tune", "work", str(root / "jobs" / "none")],
        capture_output=True,
        text=True,
    )
    assert code.returncode == 2
    assert "JOB_NOT_FOUND" in code.stderr
    assert not (root / "jobs" / "none").exists()


def test_a_plan_is_what_the_library_plans(root, model):
    job = make_job(root, "plan", {"recipe": tiny_recipe(root, model)})
    assert work(job.path) == 0, read_result(job)
    assert values_of(job)["verdict"]["status"] in ("fits", "tight", "too_big")


def test_an_evaluation_of_other_rows_stands_in_the_jobs_folder(root, trained):
    rows = write_rows(root / "other.csv", count=12, seed=3)
    report = RunFolder(root / "runs" / "first").report_json.read_bytes()
    job = make_job(root, "evaluate", {"data": str(rows)}, run="first")
    assert work(job.path) == 0, read_result(job)
    report_there = json.loads((job.path / "report.json").read_text())
    assert values_of(job)["report"] == report_there
    assert report_there["rows"] == 12
    assert (job.path / "predictions.jsonl").read_text().count("\n") == 12
    assert RunFolder(root / "runs" / "first").report_json.read_bytes() == report


def test_an_evaluation_without_rows_is_the_runs_own_report(root, trained):
    run = RunFolder(root / "runs" / "first")
    before = json.loads(run.report_json.read_text())
    run.report_json.unlink()
    job = make_job(root, "evaluate", {}, run="first")
    assert work(job.path) == 0, read_result(job)
    assert json.loads(run.report_json.read_text())["tuned"] == before["tuned"]


def test_a_table_of_held_back_rows_is_answered_as_the_runs_own_predictions_say(root, trained):
    lines = RunFolder(root / "runs" / "first").predictions.read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    assert len(expected) > 2
    table = root / "mails.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["mail"], *([one["prompt"]] for one in expected)])
    args = {"data": str(table), "column": "mail", "doubt_below": 0.75}
    job = make_job(root, "answer", args, run="first")
    assert work(job.path) == 0, read_result(job)
    with job.answers(str(table)).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mail"] for row in rows] == [one["prompt"] for one in expected]
    assert [row["label"] for row in rows] == [one["predicted"] for one in expected]
    for row, one in zip(rows, expected, strict=True):
        assert float(row["confidence"]) == pytest.approx(one["confidence"], abs=1e-4)
        assert row["doubtful"] == ("yes" if float(row["confidence"]) < 0.75 else "no")
    value = values_of(job)
    assert (value["file"], value["rows"], value["answered"]) == (
        "answers.csv",
        len(rows),
        len(rows),
    )
    assert [one["answer"] for one in value["first"]] == [row["label"] for row in rows][:20]
    events = (one.event for one in read_events(job.events))
    told = [one for one in events if isinstance(one, Progress) and one.stage == "answering"]
    assert told and told[-1].done == len(rows)


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("evaluate", {}),
        ("evaluate", {"data": "/x.csv"}),
        ("answer", {"data": "/x.csv"}),
        ("export", {"format": "peft"}),
    ],
)
def test_a_run_that_is_being_written_is_neither_measured_nor_asked_nor_exported(
    root, trained, kind, args
):
    job = make_job(root, kind, args, run="first")
    with open_for_writing(RunFolder(root / "runs" / "first")):
        assert work(job.path) == 2
    result = result_of(job)
    assert result.code == "RUN_LOCKED"
    assert str(os.getpid()) in result.message


def test_a_run_that_is_not_there_is_named(root):
    job = make_job(root, "generate", {"prompt": "x"}, run="nobody")
    assert work(job.path) == 2
    result = result_of(job)
    assert result.code == "RUN_NOT_FOUND"


def test_an_answer_has_the_keys_that_others_rely_on(root, trained):
    job = make_job(root, "generate", {"prompt": "free prize", "max_tokens": 5}, run="first")
    assert work(job.path) == 0, read_result(job)
    value = values_of(job)
    assert set(value) == {"prompt_ids", "ids", "text", "stop_reason"}
    assert 1 <= len(value["ids"]) <= 5


def test_the_base_model_answers_too_and_tells_what_it_thought_of_each_token(root, trained):
    asked = {"prompt": "free prize", "max_tokens": 5, "alternatives": 3}
    found = {}
    for base in (False, True):
        job = make_job(root, "generate", {**asked, "base": base}, run="first")
        assert work(job.path) == 0, read_result(job)
        found[base] = values_of(job)
        tokens = found[base]["tokens"]
        assert [token["id"] for token in tokens] == list(found[base]["ids"])
        for token in tokens:  # greedy: each is the likeliest
            assert len(token["others"]) == 3
            assert token["others"][0][1] <= token["probability"]
            assert token["text"] not in [text for text, _ in token["others"]]
    probabilities = [[one["probability"] for one in found[base]["tokens"]] for base in found]
    assert probabilities[0] != probabilities[1]


def test_an_answer_is_told_while_it_is_written(root, trained, monkeypatch):
    monkeypatch.setattr("gemma_keras_tune.work_models._TELL_S", 0.0)
    job = make_job(root, "generate", {"prompt": "free prize", "max_tokens": 40}, run="first")
    assert work(job.path) == 0, read_result(job)
    found = [one.event for one in read_events(job.events, kinds={"answer_text"})]
    texts = [event for event in found if isinstance(event, AnswerText)]
    assert len(texts) > 3
    whole = values_of(job)["text"]
    assert all(whole.startswith(one.text.rstrip("\ufffd")) for one in texts)
    assert [one.tokens for one in texts] == sorted(one.tokens for one in texts)


def test_a_conversation_must_end_with_the_user(root, trained):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    job = make_job(root, "generate", {"messages": messages, "max_tokens": 5}, run="first")
    assert work(job.path) == 2
    result = result_of(job)
    assert result.code == "ROLE_ORDER"


def test_a_text_is_gone_on_with_and_stands_in_no_turn(root, trained):
    prompt_ids = {}
    for given in ("text", "prompt"):
        job = make_job(root, "generate", {given: "free prize", "max_tokens": 3}, run="first")
        assert work(job.path) == 0, read_result(job)
        prompt_ids[given] = values_of(job)["prompt_ids"]
    bos, *content = prompt_ids["text"]
    assert bos == prompt_ids["prompt"][0] and 0 < len(content) < len(prompt_ids["prompt"]) - 1


def test_two_processes_on_one_job_the_second_is_refused(root, model):
    job = make_job(root, "train", {"recipe": tiny_recipe(root, model, epochs=200)}, run="two")
    first = start(job)
    try:
        wait_for(lambda: job_state(job).state == "working")
        second = subprocess.run(
            [sys.executable, "-m", "gemma_keras_tune", "work", str(job.path)],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert second.returncode == 2
        assert "JOB_LOCKED" in second.stderr
        assert f"process {first.pid} " in second.stderr
        assert read_result(job) is None
    finally:
        first.kill()
        first.wait()
    assert job_state(job).state == "died"


def steps_of(run: RunFolder) -> int:
    return sum(record.event.kind == "step" for record in read_events(run.events))


@pytest.mark.slow
def test_sigterm_stops_training_with_a_checkpoint_and_the_job_goes_on_later(root, model):
    recipe = tiny_recipe(root, model, epochs=4)
    run = RunFolder(root / "runs" / "stopped")
    job = make_job(root, "train", {"recipe": recipe}, run="stopped")
    child = start(job)
    wait_for(lambda: steps_of(run) >= 2)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 75
    result = result_of(job)
    assert (result.status, result.code) == ("stopped", "STOPPED_WITH_CHECKPOINT")
    assert values_of(job)["step"] >= 2
    code, result = finish(job)
    assert (code, result.status) == (0, "done")


def test_sigterm_before_training_began_is_heard_too(root, model):
    job = make_job(root, "train", {"recipe": tiny_recipe(root, model)}, run="early")
    child = start(job)
    wait_for(lambda: job_state(job).state == "working")
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 75
    result = result_of(job)
    assert result.status == "stopped"


def test_the_command_stop_ends_a_job_at_its_next_word(root, trained):
    job = make_job(root, "generate", {"prompt": "a", "max_tokens": 900}, run="first")
    child = start(job)
    wait_for(lambda: job.events.exists() and "progress" in kinds(job))
    send(job.control, "stop", by="a test")
    assert child.wait(timeout=60) == 75
    result = result_of(job)
    assert result.status == "stopped"


def digest(run: RunFolder) -> str:
    return sha256_file(run.adapter / "adapter_model.safetensors")


def kill_again_and_again(root: Path, model: Path, *, kills: int, seed: int) -> None:
    """Kills a training job at that many odd moments; it ends as if nobody had."""
    recipe = tiny_recipe(root, model, epochs=2)
    straight = make_job(root, "train", {"recipe": recipe}, run=f"straight-{seed}")
    assert finish(straight)[0] == 0
    job = make_job(root, "train", {"recipe": recipe}, run=f"killed-{seed}")
    rng = random.Random(seed)
    longest = 6.0
    for _ in range(kills):
        child = start(job)
        time.sleep(rng.uniform(0.3, longest))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert job_state(job).state in ("waiting", "died", "ended")
    code, result = finish(job)
    assert (code, result.status) == (0, "done")
    runs = root / "runs"
    assert digest(RunFolder(runs / f"killed-{seed}")) == digest(
        RunFolder(runs / f"straight-{seed}")
    )
    assert [path.name for path in job.path.glob("*result*")] == ["result.json"]


PHASES = {
    "claimed": lambda run, job: job.lock.exists(),
    "preparing": lambda run, job: "stage_started" in run_kinds(run),
    "training": lambda run, job: steps_of(run) >= 2,
    "checkpoint": lambda run, job: "checkpoint" in run_kinds(run),
    "kept": lambda run, job: run.adapter.exists(),
    "evaluation": lambda run, job: '"evaluation"' in text_of(run),
}


def run_kinds(run: RunFolder) -> list[str]:
    return [record.event.kind for record in read_events(run.events)]


def text_of(run: RunFolder) -> str:
    return run.events.read_text() if run.events.exists() else ""


def kill_when(job: JobFolder, run: RunFolder, has_come: Callable[[RunFolder, JobFolder], bool]):
    child = start(job)
    wait_for(lambda: has_come(run, job) or child.poll() is not None)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -9
    assert job_state(job).state in ("waiting", "died")


@pytest.mark.slow
def test_a_job_killed_in_each_phase_ends_with_the_bits_of_one_that_was_not(root, model):
    recipe = tiny_recipe(root, model, epochs=2)
    straight = make_job(root, "train", {"recipe": recipe}, run="straight")
    assert work(straight.path) == 0
    job = make_job(root, "train", {"recipe": recipe}, run="killed")
    run = RunFolder(root / "runs" / "killed")
    for has_come in PHASES.values():
        kill_when(job, run, has_come)
    code, result = finish(job)
    assert (code, result.status) == (0, "done")
    assert digest(run) == digest(RunFolder(root / "runs" / "straight"))
    assert [path.name for path in job.path.glob("*result*")] == ["result.json"]
    ends = [record.event for record in read_events(job.events)]
    assert sum(isinstance(event, RunEnded) and event.status == "done" for event in ends) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_job_killed_at_odd_moments_ends_with_the_bits_of_one_that_was_not(root, model, seed):
    kill_again_and_again(root, model, kills=5, seed=seed)

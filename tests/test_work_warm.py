"""Warm workers: a bad file costs its own job only, and answers come line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gemma_keras_tune import work_kinds
from gemma_keras_tune.events import read_events
from gemma_keras_tune.job_folder import JobFolder, Result, job_state, read_job, read_result
from gemma_keras_tune.job_spec import is_light
from gemma_keras_tune.model import load
from gemma_keras_tune.work import work
from gemma_keras_tune.writing import open_for_writing
from tests.support.command_line import environment, write_rows
from tests.support.jobs import (
    Warm,
    command,
    finish,
    make_job,
    result_of,
    save_model,
    start,
    tiny_recipe,
)

MEMORY = str(256 << 20)


@pytest.fixture
def root(tmp_path) -> Path:
    write_rows(tmp_path / "rows.csv", count=60)
    return tmp_path


@pytest.fixture
def hostile(root) -> Iterator[Warm]:
    program = [sys.executable, "-m", "tests.support.hostile_worker", MEMORY, "3", "2"]
    with Warm(root, program, PIDS=str(root / "pids")) as worker:
        yield worker


def data_job(root: Path, name: str = "rows.csv", *, action: str = "check", **args) -> JobFolder:
    return make_job(root, "data", {"action": action, "path": str(root / name), **args})


WORST = {
    "allocate": "OUT_OF_MEMORY",
    "allocate_in_c": "WORKER_DIED",
    "spin": "TOO_SLOW",
    "hang": "TOO_SLOW",
    "abort": "WORKER_DIED",
    "segfault": "WORKER_DIED",
    "kill": "WORKER_DIED",
    "vanish": "WORKER_DIED",
    "huge": "RESULT_TOO_LARGE",
}


@pytest.mark.slow
def test_whatever_a_file_does_costs_its_own_job_only(root, hostile):
    for name, code in WORST.items():
        exit_code, result = hostile.do(data_job(root, name))
        assert (exit_code, result.status, result.code) == (2, "failed", code), name
        exit_code, result = hostile.do(data_job(root))
        assert (exit_code, result.value["rows"]) == (0, 60), f"the job after {name}"
    assert hostile.end() == 0


def test_the_signal_that_ended_it_is_named(root, hostile):
    assert "SIGABRT" in hostile.do(data_job(root, "abort"))[1].message
    assert "3 seconds" in hostile.do(data_job(root, "hang"))[1].message


def test_the_log_and_the_events_of_a_dead_job_say_how_it_ended(root, hostile):
    job = data_job(root, "segfault")
    hostile.do(job)
    last = json.loads(job.events.read_text().splitlines()[-1])
    assert (last["kind"], last["status"], last["code"]) == ("run_ended", "failed", "WORKER_DIED")


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make processes within the limits")
def test_children_that_a_job_leaves_behind_are_ended_with_it(root, hostile):
    hostile.do(data_job(root, "fork"))
    left = [int(line) for line in (root / "pids").read_text().split()]
    assert len(left) == 6
    assert all(map(is_gone, left))


def test_a_worker_that_is_killed_takes_its_jobs_along(root, hostile):
    job = data_job(root, "hang")
    hostile.ask(job.path)
    wait_for(lambda: job.events.exists() and job.events.stat().st_size)
    holder = job_state(job).holder
    assert holder is not None
    hostile.process.kill()
    wait_for(lambda: is_gone(holder.pid))
    assert job_state(job).state == "died"
    assert finish(data_job(root))[0] == 0


def wait_for(what, *, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def test_what_a_job_prints_is_in_its_log_and_never_an_answer(root, hostile):
    job = data_job(root, "chatter")
    code, result = hostile.do(job)
    assert (code, result.status) == (0, "done")
    assert job.log.read_text().count("forged") == 2
    assert "on standard error" in job.log.read_text()


def test_several_jobs_work_at_once_and_all_are_answered(root, hostile):
    jobs = [data_job(root, "slow") for _ in range(4)] + [data_job(root) for _ in range(3)]
    for job in jobs:
        hostile.ask(job.path)
    answers = [hostile.answer() for _ in jobs]
    assert {answer["job"] for answer in answers} == {job.id for job in jobs}
    assert {answer["exit"] for answer in answers} == {0}
    times = [[record.time for record in read_events(job.events)] for job in jobs]
    assert max(sum(a[0] <= b[0] <= a[-1] for a in times) for b in times) == 2


def test_jobs_that_wait_are_begun_when_all_that_ran_have_ended(root):
    """Nothing but their end wakes the worker: no new line, no time that is up."""
    jobs = [data_job(root) for _ in range(4)]
    with Warm(root, command("--warm", "data", "--jobs", "1")) as worker:
        worker.ask("\n".join(str(job.path) for job in jobs))
        assert [worker.answer()["job"] for _ in jobs] == [job.id for job in jobs]


def test_after_the_end_of_input_what_was_asked_is_still_done(root, hostile):
    jobs = [data_job(root, "slow"), data_job(root), data_job(root)]
    for job in jobs:
        hostile.ask(job.path)
    assert hostile.end() == 0
    assert {result_of(job).status for job in jobs} == {"done"}


def test_sigterm_stops_what_runs_and_ends_the_worker(root, hostile):
    job = data_job(root, "slow")
    hostile.ask(job.path)
    wait_for(lambda: job_state(job).state == "working")
    hostile.process.send_signal(signal.SIGTERM)
    assert hostile.answer() == {"job": job.id, "exit": 75}
    assert hostile.process.wait(timeout=20) == 0
    assert result_of(job).status == "stopped"


def test_lines_that_are_no_jobs_are_answered_and_harm_nothing(root, hostile):
    locked, other = data_job(root), make_job(root, "generate", {"prompt": "x", "model": "demo"})
    damaged = data_job(root)
    damaged.job_json.write_text("{")
    with open_for_writing(locked):
        for line, code in (
            (root / "nothing", "JOB_NOT_FOUND"),
            ("x" * 3000, "JOB_NOT_FOUND"),
            ('{"forget": 7}', "JOB_NOT_FOUND"),
            (other.path, "WRONG_WORKER"),
            (locked.path, "JOB_LOCKED"),
        ):
            hostile.ask(line)
            answer = hostile.answer()
            assert (answer["exit"], answer["code"]) == (2, code)
    hostile.ask("")
    hostile.ask('{"forget": true}')
    assert hostile.answer() == {"forgot": True}
    assert hostile.do(damaged)[1].code == "JOB_INVALID"
    assert hostile.do(data_job(root))[0] == 0


def test_the_worker_and_its_children_load_no_accelerator_code(root):
    code = (
        "import sys, os\n"
        "from gemma_keras_tune import work_data, work_warm\n"
        "ordinary = work_data.look_at_data\n"
        "def look(args, templates):\n"
        "    ordinary(args, templates)\n"
        "    heavy = ('jax', 'jaxlib', 'keras', 'keras_hub', 'tensorflow', 'torch', 'optax')\n"
        "    return {'heavy': [name for name in heavy if name in sys.modules]}\n"
        "work_data.look_at_data = look\n"
        "from gemma_keras_tune.limits import Limits\n"
        "work_warm.serve_data(limit=Limits(), jobs=1, models=[sys.argv[1]])\n"
        "assert 'jax' not in sys.modules\n"
    )
    model = str(save_model(root / "model"))
    jobs = [
        data_job(root, action="preview", model=model),
        data_job(root, model=model),
        data_job(root, action="columns"),
        data_job(root, "model", action="inspect_model"),
    ]
    with Warm(root, [sys.executable, "-c", code, model]) as worker:
        for job in jobs:
            assert worker.do(job) == (0, Result(status="done", value={"heavy": []}))
        assert worker.end() == 0


@pytest.mark.slow
def test_the_cold_command_limits_a_data_job_as_well(root):
    (root / "big.csv").write_text("text,label\n" + f"{'fox ' * 500},ham\n" * 40_000)
    code, _ = finish(data_job(root, "big.csv"), "--memory-bytes", str(48 << 20))
    assert code == 0, "a file may be larger than memory"
    code, result = finish(data_job(root, "big.csv"), "--memory-bytes", str(8 << 20))
    assert (code, result.code) == (2, "OUT_OF_MEMORY")
    code, result = finish(data_job(root, "big.csv"), "--seconds", "0.2")
    assert (code, result.code) == (2, "TOO_SLOW")


def test_a_cold_data_job_stops_at_sigterm(root):
    (root / "big.csv").write_text("text,label\n" + f"{'fox ' * 50},ham\n" * 400_000)
    job = data_job(root, "big.csv")
    child = start(job)
    wait_for(lambda: job_state(job).state == "working")
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=30) == 75
    assert result_of(job).status == "stopped"


@pytest.mark.parametrize("action", ["check", "columns", "preview"])
def test_cold_and_warm_say_the_same_as_each_other(root, action):
    args = {"model": str(save_model(root / "model"))} if action == "preview" else {}
    cold = finish(data_job(root, action=action, **args))
    with Warm(root, command("--warm", "data", "--jobs", "1")) as worker:
        assert worker.do(data_job(root, action=action, **args)) == cold
    assert cold[0] == 0


def plan_job(root: Path) -> JobFolder:
    return make_job(root, "plan", {"recipe": tiny_recipe(root, root / "model")})


def planned(exit_code: int, result: Result) -> dict[str, Any]:
    """Of a plan, what no other work on the machine changes."""
    assert exit_code == 0, result.message
    plan: Any = result.value
    stages = plan["memories"][0]["stages"]
    return {key: plan[key] for key in ("model", "batch", "steps", "few_steps")} | {"stages": stages}


def test_a_warm_plan_is_the_cold_one(root):
    save_model(root / "model")
    cold = planned(*finish(plan_job(root)))
    with Warm(root, command("--warm", "plan")) as worker:
        bad = make_job(root, "plan", {"recipe": tiny_recipe(root, root / "none")})
        assert worker.do(bad)[1].status == "failed"
        for _ in range(2):
            assert planned(*worker.do(plan_job(root))) == cold
        assert worker.end() == 0


def test_a_warm_plan_reads_a_tokenizer_of_the_catalogue_once(root, monkeypatch):
    read = []
    real = load.describe_model
    recipe = tiny_recipe(root, save_model(root / "model"))

    def describe(model):
        read.append(model.preset)
        return real(model.model_copy(update={"preset": recipe["model"]["preset"]}))

    monkeypatch.setattr(load, "describe_model", describe)
    monkeypatch.setattr(work_kinds, "is_here", lambda name: name == "demo")
    kept = work_kinds.Kept()
    for preset in ("demo", "demo", recipe["model"]["preset"]):
        args = {"recipe": recipe | {"model": recipe["model"] | {"preset": preset}}}
        folder = make_job(root, "plan", args)
        task = work_kinds.Task(
            folder=folder, tell=lambda _: None, stop_wanted=lambda: False, kept=kept
        )
        assert work_kinds.carry_out(task, read_job(folder))["steps"]["rows"] > 0
    assert read.count("demo") == 1 and list(kept.templates) == ["demo"]


@pytest.mark.parametrize(
    ("changes", "light"),
    [({}, True), ({"compile": True}, False), ({"probe": True}, False), ("offload", False)],
)
def test_only_a_plan_that_starts_no_jax_is_light_work(root, changes, light):
    recipe = tiny_recipe(root, root / "model")
    if changes == "offload":
        changes = {"recipe": recipe | {"train": recipe["train"] | {"remat": "offload"}}}
    assert is_light("plan", {"recipe": recipe, **changes}) is light
    assert is_light("data", {}) and not is_light("train", {"recipe": recipe})
    assert is_light("plan", {"recipe": "nonsense"}), "what makes no sense needs no device"


def test_neither_a_job_nor_a_worker_or_both_is_a_clear_error(root):
    for arguments in ([], [str(root), "--warm", "data"], ["--warm", "tea"]):
        done = subprocess.run(
            command(*arguments), capture_output=True, text=True, env=environment(root)
        )
        assert done.returncode == 2
        assert "generate" in done.stderr


# The warm model server


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    from tests.support.jobs import tiny_recipe

    root = tmp_path_factory.mktemp("trained")
    recipe = tiny_recipe(root, save_model(root / "model"))
    for run, learning_rate in (("one", 0.1), ("two", 1e-4)):
        changed = {**recipe, "train": recipe["train"] | {"learning_rate": learning_rate}}
        assert work(make_job(root, "train", {"recipe": changed}, run=run).path) == 0
    return root


def question(root: Path, run: str | None = "one", **args) -> JobFolder:
    how = {"prompt": "win a free prize", "max_tokens": 12, "temperature": 0.8, "seed": 7}
    return make_job(root, "generate", how | args, run=run)


@pytest.mark.slow
def test_a_warm_answer_is_the_cold_one_whatever_was_asked_before(trained):
    model = str(trained / "model")
    asked: list[tuple[str | None, dict[str, Any]]]
    asked = [("one", {}), ("two", {}), ("one", {"seed": 8}), (None, {"model": model}), ("one", {})]
    with Warm(trained, command("--warm", "generate")) as worker:
        warm = [worker.do(question(trained, run, **args)) for run, args in asked]
        worker.ask('{"forget": true}')
        assert worker.answer() == {"forgot": True}
        again = worker.do(question(trained))
        assert worker.end() == 0
    cold = [
        work(job.path) or read_result(job) for job in (question(trained, r, **a) for r, a in asked)
    ]
    assert [result for _, result in warm] == cold
    assert warm[0] == warm[4] == again
    assert warm[0][1].value["ids"] != warm[1][1].value["ids"], "two runs answer alike"


@pytest.mark.slow
def test_a_run_that_is_trained_anew_is_read_anew(trained):
    """The key is what the adapter's files hold, not where they are."""
    import shutil

    one, two = (trained / "runs" / name for name in ("one", "two"))
    swapped = trained / "runs" / "swapped"
    shutil.copytree(one, swapped)
    with Warm(trained, command("--warm", "generate")) as worker:
        first = worker.do(question(trained, "swapped"))
        shutil.rmtree(swapped / "adapter")
        shutil.copytree(two / "adapter", swapped / "adapter")
        second = worker.do(question(trained, "swapped"))
        assert first == worker.do(question(trained, "one"))
        assert second == worker.do(question(trained, "two"))
    assert first != second


@pytest.mark.slow
def test_sigterm_lets_the_model_server_end_after_its_job(trained):
    job = question(trained, max_tokens=900)
    late = question(trained)
    with Warm(trained, command("--warm", "generate")) as worker:
        worker.ask(job.path)
        worker.ask(late.path)
        wait_for(lambda: job_state(job).state == "working", seconds=60)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.answer() == {"job": job.id, "exit": 0}
        assert worker.process.wait(timeout=60) == 0
    assert result_of(job).status == "done"
    assert job_state(late).state == "waiting"


@pytest.mark.slow
def test_a_question_that_cannot_be_answered_leaves_the_server_alive(trained):
    with Warm(trained, command("--warm", "generate")) as worker:
        assert worker.do(question(trained, "nobody"))[1].code == "RUN_NOT_FOUND"
        assert worker.do(question(trained, None, model="gemma9"))[1].code == "MODEL_UNKNOWN"
        worker.ask(trained / "nothing")
        assert worker.answer()["code"] == "JOB_NOT_FOUND"
        assert worker.do(question(trained))[0] == 0

"""Job folders: what may be asked, how a job stands, and results that are never half there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from gemma_keras_tune import durable
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.job_folder import (
    JobFolder,
    Result,
    job_state,
    new_job_id,
    read_job,
    read_result,
    write_job,
    write_result,
)
from gemma_keras_tune.job_spec import KINDS, parse_job
from gemma_keras_tune.writing import open_for_writing
from tests.support.faulty_disk import FaultyDisk, names_in

RECIPE = {"schema": 1, "name": "r", "data": {"path": "/data/x.csv", "task": "text"}}
GOOD: dict[str, dict[str, Any]] = {
    "data": {"kind": "data", "args": {"action": "check", "path": "/data/x.csv"}},
    "plan": {"kind": "plan", "args": {"recipe": RECIPE}},
    "train": {"kind": "train", "run": "r-1", "args": {"recipe": RECIPE}},
    "evaluate": {"kind": "evaluate", "run": "r-1", "args": {"data": "/data/y.csv"}},
    "answer": {"kind": "answer", "run": "r-1", "args": {"data": "/data/z.csv", "column": "mail"}},
    "generate": {"kind": "generate", "run": "r-1", "args": {"prompt": "Hello?"}},
    "export": {"kind": "export", "run": "r-1", "args": {"format": "hf", "dtype": "bfloat16"}},
}


def changed(kind: str, **args: Any) -> dict[str, Any]:
    return {**GOOD[kind], "args": {**GOOD[kind]["args"], **args}}


def test_every_kind_comes_back_from_its_file_as_it_was_written(tmp_path):
    assert set(GOOD) == set(KINDS)
    for values in GOOD.values():
        folder = write_job(tmp_path, new_job_id(), parse_job(values))
        assert read_job(folder) == parse_job(values)
        assert folder.root == tmp_path


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown kind": ({"kind": "trian"}, "'train'"),
    "no kind": ({}, "None"),
    "a misspelt argument": (changed("generate", max_token=3), "'args.max_tokens'"),
    "a misspelt recipe": (
        changed("train", recipe={**RECIPE, "train": {"epoch": 1}}),
        "'args.recipe.train.epochs'",
    ),
    "a misspelt data setting": (changed("data", data={"colums": {}}), "columns"),
    "a relative file": (changed("data", path="x.csv"), "absolute"),
    "a relative data path": (
        changed("train", recipe={**RECIPE, "data": {"path": "x.csv", "task": "text"}}),
        "absolute",
    ),
    "a relative test path": (changed("data", data={"test_path": "../x"}), "absolute"),
    "a relative model": (
        changed("plan", recipe={**RECIPE, "model": {"preset": "../secret"}}),
        "absolute",
    ),
    "a NUL byte in a path": (changed("data", path="/x\0.csv"), "absolute"),
    "a run that is a path": ({**GOOD["train"], "run": "../../etc"}, "run"),
    "a run that is hidden": ({**GOOD["train"], "run": ".trash"}, "run"),
    "a run with a line break": ({**GOOD["train"], "run": "r-1\n"}, "run"),
    "no run": ({**GOOD["export"], "run": None}, "names its run"),
    "a run and a model": (changed("generate", model="demo"), "either a run"),
    "a prompt and messages": (
        changed("generate", messages=[{"role": "user", "content": "x"}]),
        "either a prompt",
    ),
    "a prompt and a text": (changed("generate", text="Once"), "either a prompt"),
    "a relative table": (changed("answer", data="z.csv"), "absolute"),
    "a delimiter of two letters": (changed("answer", delimiter=", "), "delimiter"),
    "too many rows": (changed("data", rows=10_001), "rows"),
    "a text for a number": (changed("generate", max_tokens="7"), "max_tokens"),
    "a prompt without end": (changed("generate", prompt="x" * 500_000), "prompt"),
    "NaN": (changed("generate", temperature=float("nan")), "JSON"),
    "another format": (changed("export", format="exe"), "format"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_job_is_named(case):
    values, named = BAD[case]
    with pytest.raises(TuneError, match=named) as caught:
        parse_job(values)
    assert caught.value.code == "JOB_INVALID"


def test_a_job_beyond_a_million_bytes_is_refused_before_it_is_parsed(tmp_path):
    with pytest.raises(TuneError) as caught:
        parse_job(changed("data", data={"system": "x" * 2_000_000}))
    assert caught.value.code == "JOB_TOO_LARGE"
    folder = JobFolder(tmp_path)
    folder.job_json.write_bytes(b"[" * 3_000_000)
    with pytest.raises(TuneError) as caught:
        read_job(folder)
    assert caught.value.code == "JOB_TOO_LARGE"


def test_a_job_nested_without_end_is_one_clear_error(tmp_path):
    folder = JobFolder(tmp_path)
    folder.job_json.write_bytes(b"[" * 900_000)
    with pytest.raises(TuneError) as caught:
        read_job(folder)
    assert caught.value.code == "JOB_INVALID"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "A B", "x" * 65, "a\n"])
def test_only_a_plain_word_names_a_jobs_folder(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        write_job(tmp_path, name, parse_job(GOOD["data"]))
    assert not (tmp_path / "jobs").exists()


def test_a_job_is_written_once(tmp_path):
    write_job(tmp_path, "a", parse_job(GOOD["data"]))
    write_job(tmp_path, "a", parse_job(GOOD["data"]))
    with pytest.raises(TuneError) as caught:
        write_job(tmp_path, "a", parse_job(changed("data", rows=3)))
    assert caught.value.code == "JOB_EXISTS"


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (Result(status="done"), 0),
        (Result(status="stopped"), 75),
        (Result(status="failed", code="EMPTY_DATASET"), 2),
        (Result(status="failed", code="INTERNAL"), 1),
    ],
)
def test_a_result_has_its_exit_code(result, code):
    assert result.exit_code == code


HOLDER = """
import sys, time
from pathlib import Path
from gemma_keras_tune.job_folder import *
from gemma_keras_tune.writing import open_for_writing
with open_for_writing(JobFolder(Path(sys.argv[1]))):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_the_state_of_a_job_is_seen_from_its_folder(tmp_path):
    folder = write_job(tmp_path, new_job_id(), parse_job(GOOD["data"]))
    assert job_state(folder).state == "waiting"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    seen = job_state(folder)
    assert (seen.state, seen.holder and seen.holder.pid) == ("working", child.pid)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert job_state(folder).state == "died"
    write_result(folder, Result(status="done", value={"a": 1}))
    assert job_state(folder).result == Result(status="done", value={"a": 1})


def test_a_job_that_begins_and_ends_is_never_seen_as_dead(tmp_path):
    folder = write_job(tmp_path, new_job_id(), parse_job(GOOD["data"]))
    pid = os.fork()
    if pid == 0:
        with open_for_writing(folder):
            write_result(folder, Result(status="done"))
        os._exit(0)
    seen: list[str] = []
    until = time.monotonic() + 20
    while (not seen or seen[-1] != "ended") and time.monotonic() < until:
        seen.append(job_state(folder).state)
    os.waitpid(pid, 0)
    assert seen[-1] == "ended"
    assert "died" not in seen


def test_a_result_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = write_job(tmp_path, new_job_id(), parse_job(GOOD["data"]))
    before = names_in(folder.path)
    with monkeypatch.context() as patch:
        counted = FaultyDisk().install(patch)
        write_result(folder, Result(status="done"))
    folder.result_json.unlink()
    assert counted.calls >= 4
    for fail_at in range(1, counted.calls):
        with monkeypatch.context() as patch:
            FaultyDisk(fail_at=fail_at).install(patch)
            with pytest.raises(TuneError) as caught:
                write_result(folder, Result(status="done"))
        assert caught.value.code == "NEEDS_SPACE"
        if folder.result_json.exists():  # only the folder's flush was still to come
            assert read_result(folder) == Result(status="done")
            folder.result_json.unlink()
        assert names_in(folder.path) == before


def test_a_result_too_large_to_read_is_refused(tmp_path):
    folder = write_job(tmp_path, new_job_id(), parse_job(GOOD["data"]))
    with pytest.raises(TuneError) as caught:
        write_result(folder, Result(status="done", value={"x": "y" * (33 << 20)}))
    assert caught.value.code == "RESULT_TOO_LARGE"
    assert read_result(folder) is None


def test_a_damaged_result_is_named(tmp_path):
    folder = JobFolder(tmp_path)
    durable.atomic_write_text(folder.result_json, json.dumps({"status": "fine"}))
    with pytest.raises(TuneError) as caught:
        read_result(folder)
    assert caught.value.code == "JOB_RESULT"

"""A run that is killed with `kill -9`, again and again, ends with the bits of one that wasn't."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = [sys.executable, "-m", "tests.support.train_child"]


def to_the_end(folder: Path) -> str:
    """The hash of the result of the run in `folder`, not disturbed."""
    done = subprocess.run(
        [*CHILD, str(folder)], capture_output=True, text=True, timeout=600, check=True
    )
    return done.stdout.splitlines()[-1].removeprefix("result ")


def killed_after(folder: Path, *, steps: int, delay_s: float) -> int:
    """Steps that the process said it had done when it was killed; 0 if it had ended before."""
    process = subprocess.Popen([*CHILD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        if line.startswith("result"):
            break
        seen += 1
        if seen == steps:
            time.sleep(delay_s)  # somewhere in the next step, measurement or checkpoint
            process.kill()
            break
    process.wait(timeout=60)
    process.stdout.close()
    return seen


def check_kills(tmp_path: Path, *, kills: int) -> None:
    expected = to_the_end(tmp_path / "straight")
    rng = random.Random(0)
    for _ in range(kills):
        steps, delay = rng.randint(1, 6), rng.uniform(0, 0.3)
        killed_after(tmp_path / "killed", steps=steps, delay_s=delay)
    assert to_the_end(tmp_path / "killed") == expected


@pytest.mark.slow
def test_a_run_killed_twice_has_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=2)


@pytest.mark.slow
def test_a_run_killed_five_times_has_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=5)

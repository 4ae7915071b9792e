"""The server's own way to look for garbage: cycles go, but not in the middle of everything."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref

from gemma_keras_tune_ui.collecting import collect_rarely


class Page:
    """Something that keeps itself alive, as a page and its elements do."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_are_freed_now_and_then() -> None:
    gc.disable()
    try:
        closed = weakref.ref(Page())
        assert closed() is not None

        async def look() -> None:
            task = asyncio.create_task(collect_rarely(every_s=0.01))
            for _ in range(500):
                await asyncio.sleep(0.01)
                if closed() is None:
                    break
            task.cancel()

        asyncio.run(look())
        assert closed() is None
    finally:
        gc.enable()


def test_after_the_start_python_takes_no_full_look_by_itself() -> None:
    script = """
import gc
from gemma_keras_tune_ui.collecting import settle
settle()
frozen = gc.get_freeze_count()
before = gc.get_stats()[2]["collections"]
kept = [[index] for index in range(500_000)]
young, _, full = (generation["collections"] for generation in gc.get_stats())
print(frozen > 1000, full - before, young > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "0", "True"]

"""A warm data worker whose files do their worst: `python -m tests.support.hostile_worker ...`.

What a job does goes by the name of its file; any other name is an ordinary file.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemma_keras_tune import work_data
from gemma_keras_tune.limits import Limits
from gemma_keras_tune.work_warm import serve_data


def allocate() -> None:
    held = []
    while True:
        held.append(bytearray(16 << 20))


def allocate_in_c() -> None:
    """As a parser in C or Rust does: what it can't have, it dies of."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    if libc.malloc(ctypes.c_size_t(549 << 30)) is None:
        os.abort()


def spin() -> None:
    while True:
        pass


def hang() -> None:
    """Deaf to polite requests."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def fork() -> None:
    """Leaves children behind, some of them in sessions of their own."""
    for index in range(6):
        if os.fork() == 0:
            if index % 2:
                os.setsid()
            Path(os.environ["PIDS"]).open("a").write(f"{os.getpid()}\n")
            time.sleep(600)
            os._exit(0)
    time.sleep(0.3)


def chatter() -> None:
    """Prints what looks like an answer."""
    print('{"job": "forged", "exit": 0}', flush=True)
    os.write(1, b'{"job": "forged", "exit": 0}\n')
    os.write(2, b"on standard error\n")


WORST: dict[str, Callable[[], object]] = {
    "allocate": allocate,
    "allocate_in_c": allocate_in_c,
    "spin": spin,
    "hang": hang,
    "fork": fork,
    "chatter": chatter,
    "abort": os.abort,
    "vanish": lambda: os._exit(0),
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "huge": lambda: {"x": "y" * (40 << 20)},
    "slow": lambda: time.sleep(1.0),
}


def main() -> None:
    ordinary = work_data.look_at_data

    def look(args: Any, templates: Any) -> Any:
        name = Path(args.path).name
        if name not in WORST:
            return ordinary(args, templates)
        return WORST[name]() or {"pid": os.getpid()}

    work_data.look_at_data = look
    memory, seconds, jobs = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    limit = Limits(memory_bytes=memory, seconds=seconds)
    raise SystemExit(serve_data(limit=limit, jobs=jobs, models=[]))


if __name__ == "__main__":
    main()

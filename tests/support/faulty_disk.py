"""A disk that fails, or is watched, at the system calls of `gemma_keras_tune.durable`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune import durable

CALLS = ("_open", "_write", "_fsync", "_rename")


@dataclass
class FaultyDisk:
    """Counts the calls, remembers what was flushed, and fails the `fail_at`-th call.

    Attributes:
        fail_at: Which call fails, from 1; 0: none.
        number: The `errno` that it fails with.
        log: What was done: `("fsync", path)` and `("rename", source, target)`.
        before_rename: Called with (source, target) before each rename.
    """

    fail_at: int = 0
    number: int = errno.ENOSPC
    calls: int = 0
    log: list[tuple[str, ...]] = field(default_factory=list)
    before_rename: Callable[[Path, Path], None] | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
        for name in CALLS:
            monkeypatch.setattr(durable, name, self._watched(name, getattr(durable, name)))
        return self

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls += 1
            if self.calls == self.fail_at:
                if name == "_write":  # a full disk takes a part first
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise OSError(self.number, os.strerror(self.number))
            if name == "_rename":
                if self.before_rename:
                    self.before_rename(Path(args[0]), Path(args[1]))
                self.log.append(("rename", str(args[0]), str(args[1])))
            if name == "_fsync":
                self.log.append(("fsync", os.readlink(f"/proc/self/fd/{args[0]}")))
            return real(*args)

        return call

    @property
    def flushed(self) -> set[str]:
        return {entry[1] for entry in self.log if entry[0] == "fsync"}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}

"""Several processes that train one model together: who leads, and how all of them come to agree.

JAX connects them; nothing here talks to a network by itself. The process numbered 0 leads: it
alone keeps the run's folder and reads what is asked of the run; the others compute with it and do
what it says. A process by itself leads, and every function here then gives back what it was given.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import TuneError

_BLOCK = 1024  # bytes; messages are padded to a multiple, so that few sizes are compiled
_LOST = re.compile(r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED)\b")
_ALL_END = ("STOPPED", "STOPPED_WITH_CHECKPOINT", "PEERS_DIFFER", "LOSS_NAN")
"""Codes of errors that all processes raise after the same step, or none."""

_HEARTBEAT_S = 20  # after which a process that says nothing counts as dead


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where the processes find each other. What is left out is for JAX to find out: on a TPU slice,
    under Slurm and under Open MPI it knows.

    Attributes:
        coordinator: HOST:PORT of the leader, free on its machine.
        processes: How many there are.
        process: The number of this one, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def join(meeting: Meeting) -> None:
    """Meets the other processes. To be called before anything is computed.

    Raises:
        TuneError: `PEERS_UNKNOWN` if too little is known to find them; `PEERS_MISSING` if some
            didn't come within five minutes.
    """
    if meeting.coordinator is not None and not re.fullmatch(r".+:\d+", meeting.coordinator):
        raise TuneError(
            f"--coordinator {meeting.coordinator!r} is no HOST:PORT, such as 10.0.0.1:8476.",
            code="PEERS_UNKNOWN",
        )
    import jax

    # else the process would be aborted where another is lost, before it can say so
    jax.config.update("jax_enable_recoverability", True)
    try:
        jax.distributed.initialize(
            meeting.coordinator,
            meeting.processes,
            meeting.process,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=_HEARTBEAT_S,
        )
        jax.devices()  # what each has is exchanged here, and not after a long look at the data
    except ValueError as error:
        raise TuneError(
            f"The other processes can't be found: {error} Outside of TPU slices, Slurm and Open "
            "MPI, say where they meet: --coordinator HOST:PORT --processes N --process I.",
            code="PEERS_UNKNOWN",
        ) from error
    except RuntimeError as error:
        where = meeting.coordinator or "what JAX found out"
        raise TuneError(
            f"Not all processes met at {where}: {str(error)[:300]} Start the same command on all "
            "machines, and look whether they reach that address.",
            code="PEERS_MISSING",
        ) from error


def leave() -> None:
    """Parts from the others, once all have come to this; from here on each is by itself.

    Raises:
        TuneError: `PEER_LOST`.
    """
    if is_alone():
        return
    import jax

    with told_of_loss():
        in_all(0)  # whoever still saves has longer for it than to shut down allows
    lost = suppress(RuntimeError, ValueError)  # all that could be lost is done
    if leads():  # it serves the others, so it goes last
        with lost:
            in_all(0)
        jax.distributed.shutdown()
    else:
        jax.distributed.shutdown()
        with lost:
            _gathered(0)


def is_alone() -> bool:
    """Whether this process works by itself."""
    jax = sys.modules.get("jax")
    return jax is None or not jax.distributed.is_initialized() or jax.process_count() == 1


def leads() -> bool:
    """Whether this process is the one that keeps the run's folder."""
    return is_alone() or sys.modules["jax"].process_index() == 0


def agreed(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the leader gives here, in every process; plain JSON values."""
    if is_alone():
        return dict(values)
    told = json.dumps(values).encode() if leads() else b""
    size = int(_told(np.int32(len(told))))
    padded = np.zeros(-(-size // _BLOCK) * _BLOCK, np.uint8)
    padded[: len(told)] = np.frombuffer(told, np.uint8)
    found: dict[str, Any] = json.loads(_told(padded).tobytes()[:size])
    return found


def in_all(value: int) -> list[int]:
    """What each process gives here, by its number."""
    return [value] if is_alone() else _gathered(value)


def shared(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The leader's arrays, in every process, bit for bit; their shapes and types must agree."""
    if is_alone():
        return arrays
    flat = [np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8) for array in arrays]
    told = _told(np.concatenate(flat))
    ends = np.cumsum([len(one) for one in flat])
    return [
        np.frombuffer(part.tobytes(), array.dtype).reshape(array.shape)
        for part, array in zip(np.split(told, ends[:-1]), arrays, strict=True)
    ]


@contextmanager
def parting() -> Iterator[None]:
    """Parts from the others in order where all of them end alike: after a stop, say.

    Where only this one fails, the others are somewhere else, and are told by its being gone.
    """
    try:
        yield
    except TuneError as error:
        if error.code in _ALL_END:
            with suppress(TuneError):  # that one is lost now changes nothing any more
                leave()
        raise


@contextmanager
def told_of_loss() -> Iterator[None]:
    """Turns what JAX raises when another process is gone into an error for a person.

    Raises:
        TuneError: `PEER_LOST`.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX's status comes as either
        if is_alone() or not _LOST.match(str(error)):
            raise
        raise TuneError(
            "Most likely another process of this run is gone, or can't be reached any more: "
            f"{str(error).splitlines()[0][:200]}. Start the same command again on all machines; "
            "the run goes on from its newest checkpoint.",
            code="PEER_LOST",
        ) from error


def _gathered(value: int) -> list[int]:
    from jax.experimental import multihost_utils

    gathered = multihost_utils.process_allgather(np.int32(value))
    return [int(one) for one in np.asarray(gathered).reshape(-1)]


def _told(array: Any) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))

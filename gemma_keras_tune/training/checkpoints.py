"""Checkpoints of a training run: a pytree of arrays and a few facts, saved whole or not at all.

Orbax stores the arrays; `checkpoint_folder.py` makes them durable and finds damage.
"""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import CheckpointError
from ..model.sharding import sent_to
from .checkpoint_folder import SPARE_BYTES, CheckpointFolder, Content, write_failed
from .quiet_orbax import one_error_only

_ARRAYS = "arrays"  # the folder that Orbax writes
_FORMAT = 1
_LISTED = 6  # differences named in an error


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A committed checkpoint that was whole when it was looked at.

    Attributes:
        step: Optimizer steps that it holds.
        attempt: Which attempt of the run saved it.
        meta: What `save` was given, as JSON gives it back.
        path: Its folder.
        size_bytes: What its files take.
        is_best: Whether it is marked as the best so far.
    """

    step: int
    attempt: int
    meta: Mapping[str, Any]
    path: Path
    size_bytes: int
    is_best: bool


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: The run's `checkpoints` folder.
        attempt: This writer's attempt number (`Writer.attempt`); None to only read.
        keep: How many of the newest stay; the best stays too.
        still_mine: `Writer.still_mine`, asked right before each commit.
        spare_bytes: Free space that a save must leave, in bytes.

    Raises:
        CheckpointError: `CKPT_UNUSABLE_FOLDER` if a writer can't use the folder.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        attempt: int | None = None,
        keep: int = 2,
        still_mine: Callable[[], bool] = lambda: True,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self._folder = CheckpointFolder(
            directory, attempt=attempt, keep=keep, still_mine=still_mine, spare_bytes=spare_bytes
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of the listed checkpoints that are not known to be damaged, oldest first."""
        return tuple(entry.step for entry in self._folder.index().whole)

    @property
    def damage(self) -> tuple[str, ...]:
        """One line for each listed checkpoint that was found damaged, for a warning."""
        entries = self._folder.index().entries
        return tuple(f"{entry.name}: {entry.problem}" for entry in entries if entry.problem)

    def save(
        self, step: int, arrays: Any, meta: Mapping[str, Any], *, best: bool = False
    ) -> Checkpoint:
        """The checkpoint, durable when this returns; older ones are then rotated away.

        Args:
            step: Optimizer steps that it holds.
            arrays: A pytree of JAX or NumPy arrays, of any shape and dtype (but no typed random
                keys: save `jax.random.key_data`).
            meta: Facts that JSON can hold; no NaN or infinity.
            best: Whether its validation loss is the lowest so far.

        Raises:
            CheckpointError: `NEEDS_SPACE`, `CKPT_WRITE_FAILED` or `CKPT_FENCED`; the checkpoints
                of before are then as they were.
            ValueError: If `meta` or a leaf of `arrays` can't be stored.
        """
        meta = json.loads(json.dumps(meta, allow_nan=False))
        leaves = _named_leaves(arrays)
        described = [_described(name, leaf) for name, leaf in leaves]
        content = self._folder.commit(
            step,
            lambda folder: _write_arrays(folder, [leaf for _, leaf in leaves]),
            manifest={"format": _FORMAT, "meta": meta, "arrays": described},
            size_bytes=sum(_size_bytes(leaf) for _, leaf in leaves),
            best=best,
        )
        return self._checkpoint(content)

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint, every byte verified; None if none was ever saved.

        Raises:
            CheckpointError: `CKPT_ALL_CORRUPT` if there are some, but none is whole.
        """
        content = self._folder.newest()
        return self._checkpoint(content) if content else None

    def best(self) -> Checkpoint | None:
        """The checkpoint marked as the best, every byte verified; None if none was marked.

        Raises:
            CheckpointError: `CKPT_BEST_CORRUPT` if it is damaged.
        """
        content = self._folder.best()
        return self._checkpoint(content) if content else None

    def restore(self, checkpoint: Checkpoint, like: Any) -> Any:
        """The saved arrays, bit for bit, in the structure of `like`.

        Args:
            checkpoint: What `latest` or `best` returned.
            like: A pytree with the structure, shapes and dtypes that were saved. A NumPy leaf comes
                back as NumPy; a JAX array or `jax.ShapeDtypeStruct` as JAX, on its sharding.

        Raises:
            CheckpointError: `CKPT_MISMATCH` if another structure, shape or dtype was saved;
                `CKPT_READ_FAILED` if the files can't be read.
        """
        manifest = json.loads((checkpoint.path / "manifest.json").read_bytes())
        leaves = _named_leaves(like)
        _check_same(manifest["arrays"], [_described(*leaf) for leaf in leaves], checkpoint)
        stored = _read_arrays(checkpoint.path, manifest["arrays"])
        restored = [
            placed_like(array, leaf) for array, (_, leaf) in zip(stored, leaves, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(like), restored)

    def _checkpoint(self, content: Content) -> Checkpoint:
        return Checkpoint(
            step=content.entry.step,
            attempt=content.entry.attempt,
            meta=content.manifest["meta"],
            path=content.path,
            size_bytes=content.entry.size_bytes,
            is_best=self._folder.index().best == content.entry.name,
        )


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _described(name: str, leaf: Any) -> dict[str, Any]:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise ValueError(f"{name or 'the tree'} is {type(leaf).__name__}, not an array")
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) or leaf.dtype == object:
        raise ValueError(f"{name} has dtype {leaf.dtype}, which can't be stored as plain numbers")
    return {"name": name, "shape": list(leaf.shape), "dtype": np.dtype(leaf.dtype).name}


def _size_bytes(leaf: Any) -> int:
    return int(leaf.size) * np.dtype(leaf.dtype).itemsize


def _write_arrays(folder: Path, leaves: Sequence[Any]) -> None:
    """Lets Orbax write the arrays into `folder/arrays`, numbered as `jax.tree.leaves` does."""
    # Orbax refuses empty arrays; their shape in the manifest is all that there is to them.
    items = {f"{n:05d}": leaf for n, leaf in enumerate(leaves) if leaf.size}
    if not items:
        return
    with _plain_path(folder) as plain, one_error_only():
        try:
            _checkpointer().save(plain / _ARRAYS, items)
        except (ValueError, RuntimeError) as error:  # how TensorStore reports a failed write
            raise write_failed(error, folder.parent) from error
    if not (folder / _ARRAYS / "manifest.ocdbt").exists():
        raise CheckpointError(
            f"Orbax wrote an incomplete checkpoint in {folder.parent} without an error; it was "
            "not kept. The checkpoints of before are intact. Please report this.",
            code="CKPT_WRITE_FAILED",
        )


def _checkpointer() -> Any:
    """Orbax's, which asks no other process: where several train together, one alone saves."""
    import orbax.checkpoint as ocp  # half a second, which readers of the index needn't pay

    if jax.process_count() == 1:
        return ocp.PyTreeCheckpointer()
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _read_arrays(folder: Path, described: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    import orbax.checkpoint as ocp

    shapes = [(tuple(array["shape"]), jnp.dtype(array["dtype"])) for array in described]
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    args = {f"{n:05d}": as_numpy for n, (shape, _) in enumerate(shapes) if 0 not in shape}
    try:
        items: dict[str, Any] = {}
        if args:
            with one_error_only():
                items = _checkpointer().restore(folder / _ARRAYS, restore_args=args)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"The arrays of {folder} can't be read: {str(error)[:500]}", code="CKPT_READ_FAILED"
        ) from error
    return [
        np.asarray(items[f"{n:05d}"]) if 0 not in shape else np.zeros(shape, dtype)
        for n, (shape, dtype) in enumerate(shapes)
    ]


def placed_like(array: np.ndarray, leaf: Any) -> Any:
    """The array as the kind of value that `leaf` is, where `leaf` is."""
    if isinstance(leaf, np.ndarray | np.generic):
        return array
    if getattr(leaf, "weak_type", False) and array.ndim == 0:
        return jnp.asarray(array.item())  # a strong type would compile, and promote, differently
    sharding = getattr(leaf, "sharding", None)
    if sharding is None or not getattr(leaf, "committed", True):
        return jnp.array(array)
    if not sharding.is_fully_addressable:  # other processes have a part, and aren't asked here
        return sent_to(array, sharding)
    return jax.device_put(array, sharding, may_alias=False)


def _check_same(
    saved: Sequence[Mapping[str, Any]],
    expected: Sequence[Mapping[str, Any]],
    checkpoint: Checkpoint,
) -> None:
    if saved == expected:
        return
    before, now = ({array["name"]: _kind(array) for array in side} for side in (saved, expected))
    differences = [f"{name}: only in the checkpoint" for name in before if name not in now]
    differences += [f"{name}: not in the checkpoint" for name in now if name not in before]
    differences += [
        f"{name}: {before[name]} in the checkpoint, {now[name]} in this run"
        for name in before
        if name in now and before[name] != now[name]
    ]
    shown = differences[:_LISTED] or ["the arrays are in another order"]
    more = len(differences) - len(shown)
    lines = "\n".join(f"  {line}" for line in shown + ([f"and {more} more"] if more > 0 else []))
    raise CheckpointError(
        f"The checkpoint {checkpoint.path} was saved by another set-up:\n{lines}\n"
        "Resume with the recipe and the version that started the run, or start a new run.",
        code="CKPT_MISMATCH",
    )


def _kind(array: Mapping[str, Any]) -> str:
    return f"{array['dtype']}{array['shape']}"


@contextmanager
def _plain_path(folder: Path) -> Iterator[Path]:
    """A path to `folder` without characters that `glob` gives a meaning to.

    Orbax 0.12.8 looks for its own files with a glob of the path. In a folder such as `runs [new]`
    it finds none, leaves its last step out, and what it has written can't be read.
    """
    folder = folder.absolute()
    if glob.escape(str(folder)) == str(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="gemma-keras-tune-") as elsewhere:
        link = Path(elsewhere) / "checkpoint"
        link.symlink_to(folder, target_is_directory=True)
        yield link

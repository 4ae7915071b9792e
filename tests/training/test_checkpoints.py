"""Pytrees through Orbax and back, bit for bit, and what happens when they can't be."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from gemma_keras_tune.errors import CheckpointError
from gemma_keras_tune.training import checkpoints
from gemma_keras_tune.training.checkpoints import Checkpoint, CheckpointStore

ROOT = Path(__file__).parents[2]


def store(directory: Path, attempt: int | None = 1, **options) -> CheckpointStore:
    return CheckpointStore(directory, attempt=attempt, spare_bytes=0, **options)


def latest_of(target: CheckpointStore) -> Checkpoint:
    latest = target.latest()
    assert latest is not None
    return latest


def state(seed: int = 0):
    """Parameters and optimizer state as a training run has them."""
    random = np.random.default_rng(seed)
    params = {
        "q_proj": {
            "a": jnp.asarray(random.standard_normal((2, 8, 4)), jnp.float32),
            "b": jnp.asarray(random.standard_normal((2, 4, 8)), jnp.bfloat16),
        }
    }
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adamw)(learning_rate=0.1)
    )
    opt_state = optimizer.init(params)
    _, opt_state = optimizer.update(params, opt_state, params)
    return {"params": params, "opt": opt_state}


def assert_same_bits(left: Any, right: Any) -> None:
    assert str(jax.tree.structure(left)) == str(jax.tree.structure(right))
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert isinstance(a, jax.Array) == isinstance(b, jax.Array)
        assert getattr(a, "weak_type", None) == getattr(b, "weak_type", None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Checkpoints of steps 10 and 20."""
    directory = tmp_path_factory.mktemp("checkpoints")
    for step in (10, 20):
        store(directory).save(step, state(step), {"step": step, "recipe": "abc"})
    return directory


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


# -- the arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes_only", [False, True], ids=["arrays", "shapes"])
def test_optimizer_state_comes_back_bit_for_bit_in_its_own_structure(saved, shapes_only):
    reader = store(saved, attempt=None)
    latest = latest_of(reader)
    assert (latest.step, latest.attempt, dict(latest.meta)) == (
        20,
        1,
        {"step": 20, "recipe": "abc"},
    )
    like = jax.eval_shape(lambda: state()) if shapes_only else state()
    restored = reader.restore(latest, like)
    assert_same_bits(restored, state(20))
    assert int(restored["opt"][1].count) == 1
    assert isinstance(restored["opt"][1].inner_state[0], optax.ScaleByAdamState)


EVERY_DTYPE = [
    *(np.dtype(name) for name in ("bool", "int8", "uint8", "int16", "uint32", "int64", "uint64")),
    *(np.dtype(name) for name in ("float16", "float32", "float64", "complex64")),
    np.dtype(ml_dtypes.bfloat16),
    np.dtype(ml_dtypes.float8_e4m3fn),
]


def test_every_dtype_and_every_bit_pattern_survives(tmp_path):
    random = np.random.default_rng(0)
    tree = {
        dtype.name: (
            random.integers(0, 2, 64).astype(bool)
            if dtype.kind == "b"
            else np.frombuffer(random.bytes(64 * dtype.itemsize), dtype)  # NaNs with payloads too
        )
        for dtype in EVERY_DTYPE
    }
    tree["negative zero"] = np.array(-0.0, np.float32)
    checkpoint = store(tmp_path).save(1, tree, {})
    assert_same_bits(store(tmp_path).restore(checkpoint, tree), tree)


def test_scalars_empty_arrays_and_odd_names_survive(tmp_path):
    tree = {
        "": np.float32(2.5) * np.ones((), np.float32),
        "a/b": np.zeros((0, 3), np.int8),
        "a": {"b": jnp.uint32(7), "[0]": jnp.asarray(3.0)},
        "ü *": [None, (), jnp.zeros((2, 0)), np.int64(2**62) * np.ones((), np.int64)],
    }
    checkpoint = store(tmp_path).save(1, tree, {})
    assert_same_bits(store(tmp_path).restore(checkpoint, tree), tree)
    nothing = store(tmp_path).save(2, {"none": None}, {"only": "meta"})
    assert store(tmp_path).restore(nothing, {"none": None}) == {"none": None}


def test_a_restored_state_runs_in_the_program_compiled_for_the_first(tmp_path):
    traces = []

    @jax.jit
    def step(tree):
        traces.append(1)
        return jax.tree.map(lambda leaf: leaf * 2, tree)

    tree = {"weak": jnp.asarray(3.0), "strong": jnp.ones((2,), jnp.bfloat16)}
    step(tree)
    checkpoint = store(tmp_path).save(1, tree, {})
    step(store(tmp_path).restore(checkpoint, tree))
    assert len(traces) == 1


def test_a_restored_array_can_be_donated_without_touching_another(tmp_path):
    tree = {"x": jnp.arange(1024, dtype=jnp.float32)}
    checkpoint = store(tmp_path).save(1, tree, {})
    first = store(tmp_path).restore(checkpoint, tree)
    jax.jit(lambda x: x + 1, donate_argnums=0)(first["x"])
    assert_same_bits(store(tmp_path).restore(checkpoint, tree), tree)


@pytest.mark.parametrize("name", ["runs [new]", "a*b?", "100% {x}", "Läufe 1"])
def test_a_folder_with_an_odd_name_is_as_good_as_any(tmp_path, name):
    """Orbax 0.12.8 itself writes unreadable checkpoints, in silence, where a path has brackets."""
    directory = tmp_path / name / "checkpoints"
    store(directory).save(1, state(), {})
    reader = store(directory, attempt=None)
    assert_same_bits(reader.restore(latest_of(reader), state()), state())


def test_a_checkpoint_that_orbax_leaves_incomplete_in_silence_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_plain_path", contextlib.nullcontext)
    with pytest.raises(CheckpointError, match="incomplete"):
        store(tmp_path / "runs [new]").save(1, state(), {})
    assert store(tmp_path / "runs [new]", attempt=None).latest() is None


def test_a_relative_folder_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store(Path("checkpoints")).save(1, state(), {})
    reader = store(Path("checkpoints"), attempt=None)
    assert_same_bits(reader.restore(latest_of(reader), state()), state())


def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path):
    target = store(tmp_path)
    with pytest.raises(ValueError, match="x is int"):
        target.save(1, {"x": 3}, {})
    with pytest.raises(ValueError, match="key<fry>"):
        target.save(1, {"x": jax.random.key(0)}, {})
    with pytest.raises(ValueError):
        target.save(1, {"x": np.ones(2)}, {"loss": float("nan")})
    with pytest.raises(TypeError):
        target.save(1, {"x": np.ones(2)}, {"path": Path("x")})
    assert list(tmp_path.iterdir()) == []


# -- best, steps, damage ---------------------------------------------------------------------------


def test_the_best_stays_and_says_so(tmp_path):
    target = store(tmp_path, keep=1)
    for step in (1, 2, 3):
        target.save(step, {"x": np.full(3, step)}, {"step": step}, best=step == 2)
    assert target.steps == (2, 3)
    best, latest = target.best(), latest_of(target)
    assert best is not None
    assert (best.step, best.is_best) == (2, True)
    assert (latest.step, latest.is_best) == (3, False)
    assert target.restore(best, {"x": np.zeros(3, int)})["x"].tolist() == [2, 2, 2]


def test_a_run_without_checkpoints_has_none(tmp_path):
    assert store(tmp_path).latest() is None
    assert store(tmp_path).best() is None
    assert store(tmp_path).steps == ()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.write_bytes(data)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, halve, Path.unlink])
def test_damage_in_any_file_of_a_real_checkpoint_makes_the_one_before_be_used(
    saved, tmp_path, damage
):
    files = [
        path.relative_to(saved / "20-1")
        for path in (saved / "20-1").rglob("*")
        if path.is_file() and path.stat().st_size
    ]
    assert len(files) >= 8
    for number, name in enumerate(files):
        here = tmp_path / str(number)
        shutil.copytree(saved, here)
        damage(here / "20-1" / name)
        target = store(here, attempt=2)
        latest = latest_of(target)
        assert latest.step == 10, name
        assert_same_bits(target.restore(latest, state()), state(10))
        assert len(target.damage) == 1
        assert name.name in target.damage[0]


def test_all_damaged_is_told_with_what_is_wrong(copy):
    for name in ("10-1", "20-1"):
        flip(copy / name / "arrays" / "_METADATA")
    with pytest.raises(CheckpointError, match="arrays/_METADATA was changed") as caught:
        store(copy, attempt=2).latest()
    assert caught.value.code == "CKPT_ALL_CORRUPT"


# -- another set-up --------------------------------------------------------------------------------


def test_another_shape_dtype_or_structure_is_refused_with_the_names(saved):
    reader = store(saved, attempt=None)
    latest = latest_of(reader)
    like = state()
    like["params"]["q_proj"]["a"] = jnp.zeros((2, 8, 16))
    like["params"]["q_proj"]["b"] = jnp.zeros((2, 4, 8))
    like["extra"] = jnp.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        reader.restore(latest, like)
    assert caught.value.code == "CKPT_MISMATCH"
    text = str(caught.value)
    expected = "params/q_proj/a: float32[2, 8, 4] in the checkpoint, float32[2, 8, 16] in this run"
    assert expected in text
    assert "params/q_proj/b: bfloat16[2, 4, 8] in the checkpoint, float32[2, 4, 8]" in text
    assert "extra: not in the checkpoint" in text
    with pytest.raises(CheckpointError, match="opt/.*: only in the checkpoint"):
        reader.restore(latest, {"params": state()["params"]})


def test_arrays_that_cannot_be_read_are_one_clear_error(copy):
    reader = store(copy, attempt=None)
    latest = latest_of(reader)
    shutil.rmtree(copy / "20-1" / "arrays" / "d")
    with pytest.raises(CheckpointError) as caught:
        reader.restore(latest, state())
    assert caught.value.code == "CKPT_READ_FAILED"


# -- a full disk and kills, with the real writer ---------------------------------------------------

FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from gemma_keras_tune.errors import CheckpointError
from gemma_keras_tune.training.checkpoints import CheckpointStore

directory = Path(sys.argv[1])
store = CheckpointStore(directory, attempt=1, spare_bytes=0)
tree = {str(n): np.random.default_rng(n).standard_normal((100, 1000)) for n in range(4)}
store.save(1, tree, {})

def listed():
    # Orbax's threads may write on for a moment into a temporary folder that is gone already.
    return sorted(p.name for p in directory.iterdir() if not p.name.startswith(".tmp-"))

before = listed()
for limit in (10, 1_000, 100_000, 500_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.save(2, tree, {})
    except CheckpointError as error:
        print(error.code)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert listed() == before, limit
    latest = store.latest()
    assert latest.step == 1
    assert all((v == tree[k]).all() for k, v in store.restore(latest, tree).items())
store.save(2, tree, {})
print(store.steps)
assert not list(directory.glob(".tmp-*"))
"""


def test_when_orbax_runs_out_of_space_the_checkpoint_before_is_intact_and_the_next_works(tmp_path):
    """The limit on the size of a file stops a write in its middle, as a full disk does."""
    out = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "checkpoints")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert out.returncode == 0, out.stderr[-3000:]
    assert "Traceback" not in out.stderr, "one clear error, not Orbax's thousand lines"
    assert out.stdout.split("\n")[:-1] == ["NEEDS_SPACE"] * 4 + ["(1, 2)"]


SAVER = """
import sys
from pathlib import Path
import numpy as np
from gemma_keras_tune.training.checkpoints import CheckpointStore

store = CheckpointStore(Path(sys.argv[1]), attempt=int(sys.argv[2]), spare_bytes=0)
latest = store.latest()
step = latest.step if latest else 0
while True:
    step += 1
    store.save(step, {str(n): np.full((50, 500), step + n) for n in range(4)}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_kill_9_while_orbax_saves_never_loses_an_acknowledged_checkpoint(tmp_path):
    delay = np.random.default_rng(0)
    for attempt in range(1, 16):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path), str(attempt)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        said = [child.stdout.readline()]
        time.sleep(delay.uniform(0, 0.4))
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
        child.wait()
        acknowledged = max(int(line) for line in said if line.endswith("\n"))
        reader = store(tmp_path, attempt=None)
        latest = latest_of(reader)
        assert latest.step in (acknowledged, acknowledged + 1)
        assert reader.damage == ()
        like = {str(n): np.zeros((50, 500), int) for n in range(4)}
        restored = reader.restore(latest, like)
        assert all((restored[str(n)] == latest.step + n).all() for n in range(4))

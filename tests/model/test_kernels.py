"""The kernels for a TPU and a GPU, interpreted by Pallas on a processor, against a mask.

They have never run on their devices here: `tests/accelerator` has the tests for that.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model import forward as forward_module
from gemma_keras_tune.model.blockwise import BlockSettings, Places
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.fused import fused_attention
from gemma_keras_tune.model.lora import Adapters
from gemma_keras_tune.model.paths import AttentionPath
from gemma_keras_tune.model.splash import splash_attention
from gemma_keras_tune.model.weights import init_random
from tests.model.test_blockwise import (
    attention_with_mask,
    places,
    random_heads,
    value_and_gradients,
)
from tests.model.test_forward import random_adapters, relative
from tests.support.command_line import ROOT, environment
from tests.support.mesh_child import EIGHT
from tests.support.tiny_models import TINY_FAMILIES

WINDOW = 40
KERNELS = {"splash": (splash_attention, 128), "fused": (fused_attention, 64)}
"""The function, and tokens of a block."""
ROWS = [[200], [90, 100]]  # whole blocks with 56 of padding; the second row has 10 of its own


def by_mask_and_by_kernel(
    kernel: str, where: Places, *, softcap: float | None, is_local: bool, known: Any
) -> tuple[partial[Any], partial[Any]]:
    attend, block = KERNELS[kernel]
    settings = BlockSettings(block=block, window=WINDOW, softcap=softcap)
    return (
        partial(attention_with_mask, places=where, is_local=is_local, settings=settings),
        partial(attend, places=where, is_local=known, settings=settings),
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("is_local", "softcap", "kv_heads"),
    [
        (True, None, 2),
        (False, 2.0, 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(True, 2.0, 4), (True, 2.0, 1), (False, None, 4), (False, 2.0, 2)]
        ),
    ],
)
def test_values_and_gradients_equal_those_with_a_mask(
    kernel: str, is_local: bool, softcap: float | None, kv_heads: int
) -> None:
    where = places(ROWS)
    heads = random_heads(where, kv_heads=kv_heads)
    by_mask, by_kernel = by_mask_and_by_kernel(
        kernel, where, softcap=softcap, is_local=is_local, known=is_local
    )
    expected = value_and_gradients(by_mask, heads)
    for one, other in zip(value_and_gradients(by_kernel, heads), expected, strict=True):
        assert relative(one, other) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("is_local", [True, False])
def test_whether_a_layer_is_local_may_be_known_only_when_it_runs(
    kernel: str, is_local: bool
) -> None:
    where = places(ROWS)
    heads = random_heads(where)
    by_mask, by_kernel = by_mask_and_by_kernel(
        kernel, where, softcap=2.0, is_local=is_local, known=jnp.asarray(is_local)
    )
    expected = value_and_gradients(by_mask, heads)
    for one, other in zip(value_and_gradients(by_kernel, heads), expected, strict=True):
        assert relative(one, other) < 2e-5


@pytest.mark.parametrize("kernel", KERNELS)
def test_in_bfloat16_the_kernel_is_as_near_to_float32_as_a_mask_is(kernel: str) -> None:
    where = places(ROWS)
    by_mask, by_kernel = by_mask_and_by_kernel(
        kernel, where, softcap=None, is_local=True, known=True
    )
    heads = random_heads(where, dtype=jnp.bfloat16)
    exact = value_and_gradients(by_mask, [head.astype(jnp.float32) for head in heads])
    ours, theirs = value_and_gradients(by_kernel, heads), value_and_gradients(by_mask, heads)
    for one, other, true in zip(ours, theirs, exact, strict=True):
        assert relative(one, true) < max(2 * relative(other, true), 0.01)


@pytest.mark.parametrize(
    ("rows", "is_local", "unseen"),
    [([[130, 70]], False, 128), ([[200]], True, 128), ([[200]], False, 0)],
    ids=["a segment that ended", "beyond the window", "nothing"],
)
def test_tiles_that_no_query_sees_are_not_touched(
    rows: list[list[int]], is_local: bool, unseen: int
) -> None:
    """What is no number spoils whatever it is multiplied with, even with 0.

    The last block of queries begins at 192.
    """
    where = places(rows)
    query, key, value, weight = random_heads(where)
    settings = BlockSettings(block=64, window=WINDOW)
    attend = partial(fused_attention, places=where, is_local=is_local, settings=settings)
    out = attend(query, key, value.at[:, :unseen].set(jnp.nan))
    assert np.isfinite(out[:, 192:]).all()
    assert unseen == 0 or np.isnan(out[:, :unseen]).all()

    def weighted(key: jax.Array) -> jax.Array:
        return jnp.vdot(attend(query.at[:, 192:].set(jnp.nan), key, value), weight)

    pull = jax.grad(weighted)(key)
    assert np.isfinite(pull[:, :unseen]).all()
    assert np.isnan(pull[:, 192:]).any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_branches_are_refused(kernel: str) -> None:
    where = places(ROWS, branched=True)
    query, key, value, _ = random_heads(where)
    attend, block = KERNELS[kernel]
    settings = BlockSettings(block=block, window=WINDOW)
    with pytest.raises(ValueError, match="branches"):
        attend(query, key, value, places=where, is_local=False, settings=settings)


def by_eight(module: str, *arguments: str, home: Path) -> Any:
    """What a module of `tests.support` prints with eight virtual devices."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.support.{module}", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=800,
        env=environment(home) | {"XLA_FLAGS": EIGHT},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def attend_by(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every forward pass attend by the kernel."""
    path = AttentionPath(name=cast(Any, kernel), block=KERNELS[kernel][1])
    monkeypatch.setattr(forward_module, "attention_path", lambda *_, **__: path)


def loss(config: Any, weights: Any, where: Places, adapters: Adapters, *, remat: Any) -> jax.Array:
    ids = np.random.default_rng(0).integers(4, config.vocab_size, where.positions.shape)
    hidden = hidden_states(
        config, weights, jnp.asarray(ids), positions=where.positions,
        segment_ids=where.segments, adapters=adapters, remat=remat,
    )  # fmt: skip
    return jnp.where((where.segments > 0)[..., None], hidden, 0).var()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("family", "remat"),
    [
        ("gemma2", "dots"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                *((family, "dots") for family in TINY_FAMILIES if family != "gemma2"),
                *(("gemma3", "none"), ("gemma3", "full")),
            ]
        ),
    ],
)
def test_every_family_computes_the_same_with_the_kernel(
    kernel: str, family: str, remat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TINY_FAMILIES[family]
    weights, adapters, where = init_random(config, seed=0), random_adapters(config), places(ROWS)
    computed = partial(loss, config, weights, where, remat=remat)
    expected = jax.jit(jax.value_and_grad(computed))(adapters)
    attend_by(kernel, monkeypatch)
    found = jax.jit(jax.value_and_grad(lambda adapters: computed(adapters)))(adapters)
    assert relative(found[0], expected[0]) < 1e-5
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert relative(one, other) < 1e-4


@pytest.mark.parametrize(
    ("kernel", "forward"), [("splash", "splash_mha_fwd"), ("fused", "fused_attention/")]
)
@pytest.mark.parametrize(
    ("remat", "again"), [("dots", False), pytest.param("full", True, marks=pytest.mark.slow)]
)
def test_the_backward_pass_attends_again_only_where_nothing_is_kept(
    kernel: str, forward: str, remat: Any, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend_by(kernel, monkeypatch)
    config = TINY_FAMILIES["gemma2"]
    weights, adapters, where = init_random(config, seed=0), random_adapters(config), places(ROWS)
    computed = jax.jit(jax.grad(partial(loss, config, weights, where, remat=remat)))
    text = computed.lower(adapters).compile().as_text() or ""
    names = set(re.findall(rf'op_name="([^"]*{forward}[^"]*)"', text))
    assert names
    assert any("rematted_computation" in name for name in names) is again


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_over_a_mesh_the_kernel_gives_what_one_device_gives(kernel: str, tmp_path: Path) -> None:
    found = by_eight("kernels_child", kernel, str(KERNELS[kernel][1]), home=tmp_path)
    assert len(found) == 8
    for name, values in found.items():
        expected = found[f"{name.split()[0]} blocks"]
        np.testing.assert_allclose(values, expected, rtol=2e-5, err_msg=name)


@pytest.mark.slow
def test_steps_of_real_sizes_are_lowered_for_a_tpu(tmp_path: Path) -> None:
    """Forward, the queries' and the keys' gradient, once for each kind of layer that differs.

    With a window of 4,096 Gemma 2's layers are all alike on rows of 2,048 tokens.
    """
    assert by_eight("lowering_child", "tpu", home=tmp_path) == {
        "gemma_2b_en": 3,
        "gemma2_2b_en": 3,
        "gemma4_2b": 6,
        "gemma3_instruct_1b": 6,
        "gemma3_instruct_1b auto": 6,
        "gemma3_instruct_1b plain": 0,
        "gemma3_instruct_1b on 2x4": 6,
        "gemma3_instruct_27b_text on 8x1": 6,
    }


@pytest.mark.slow
def test_steps_of_real_sizes_are_lowered_for_a_gpu(tmp_path: Path) -> None:
    """As for a TPU, with the window as a number; and a forward that nothing uses, for XLA to drop.

    Gemma 4's 35 layers are not scanned.
    """
    assert by_eight("lowering_child", "gpu", home=tmp_path) == {
        "gemma_2b_en": 4,
        "gemma2_2b_en": 4,
        "gemma4_2b": 35 * 4,
        "gemma3_instruct_1b": 4,
        "gemma3_instruct_1b auto": 0,
        "gemma3_instruct_1b plain": 0,
        "gemma3_instruct_1b on 2x4": 4,
        "gemma3_instruct_27b_text on 8x1": 4,
    }

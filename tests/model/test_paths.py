"""Which way attention takes, by all that it depends on."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.paths import (
    AttentionPath,
    attention_path,
    check_attention,
    check_remat,
    deals_out,
)
from gemma_keras_tune.planning.known_models import model_config
from gemma_keras_tune.recipe import ModelRecipe
from tests.support.tiny_models import tiny_gemma3, tiny_gemma4_large

KERNEL = {"length": 2048, "platform": "tpu", "dtype": "bfloat16", "asked": "auto"}


def path(config: GemmaConfig | None = None, **changes: Any) -> AttentionPath:
    config = config or tiny_gemma3(head_dim=256)
    return attention_path(config, **{**KERNEL, **changes})


@pytest.mark.parametrize(
    ("changes", "name", "block"),
    [
        ({}, "splash", 512),
        ({"length": 5000}, "splash", 512),
        ({"dtype": "float32"}, "splash", 512),
        ({"cuts": 2}, "splash", 512),
        ({"length": 2047}, "mask", 0),
        ({"asked": "plain"}, "blocks", 512),
        ({"asked": "plain", "length": 2047}, "mask", 0),
        ({"platform": "gpu"}, "blocks", 512),
        ({"platform": "gpu", "length": 2047}, "mask", 0),
        ({"platform": "gpu", "asked": "fused"}, "fused", 64),
        ({"platform": "gpu", "asked": "fused", "length": 512}, "fused", 64),
        ({"platform": "gpu", "asked": "fused", "length": 511}, "mask", 0),
        ({"platform": "gpu", "asked": "fused", "cuts": 2}, "fused", 64),
        ({"platform": "gpu", "asked": "fused", "branched": True}, "blocks", 512),
        ({"platform": "gpu", "asked": "fused", "dtype": "float32"}, "blocks", 512),
        ({"asked": "fused"}, "splash", 512),
        ({"asked": "fused", "length": 2047}, "mask", 0),
        ({"platform": "cpu"}, "blocks", 128),
        ({"platform": "cpu", "length": 511}, "mask", 0),
        ({"dtype": "float16"}, "blocks", 512),
        ({"branched": True}, "blocks", 512),
    ],
)
def test_the_way_depends_on_where_what_and_what_was_asked(
    changes: dict[str, Any], name: str, block: int
) -> None:
    found = path(**changes)
    assert (found.name, found.block) == (name, block)


@pytest.mark.parametrize(
    ("config", "name", "block"),
    [
        (tiny_gemma3(head_dim=64), "blocks", 512),
        (tiny_gemma3(head_dim=128), "splash", 512),
        (tiny_gemma4_large(head_dim=256, global_head_dim=512), "splash", 256),
        (tiny_gemma4_large(head_dim=256, global_head_dim=192), "blocks", 512),
    ],
)
def test_the_size_of_every_head_decides(config: GemmaConfig, name: str, block: int) -> None:
    found = path(config)
    assert (found.name, found.block) == (name, block)


@pytest.mark.parametrize(
    ("config", "name", "block"),
    [
        (tiny_gemma3(head_dim=64), "fused", 64),
        (tiny_gemma3(head_dim=8), "blocks", 512),
        (tiny_gemma4_large(head_dim=256, global_head_dim=512), "fused", 32),
        (tiny_gemma4_large(head_dim=256, global_head_dim=192), "blocks", 512),
        (tiny_gemma4_large(head_dim=256, global_head_dim=1024), "blocks", 512),
    ],
)
def test_on_a_gpu_every_head_is_a_power_of_two(config: GemmaConfig, name: str, block: int) -> None:
    found = path(config, platform="gpu", asked="fused")
    assert (found.name, found.block) == (name, block)


@pytest.mark.parametrize(
    ("preset", "block"),
    [
        ("gemma_2b_en", 512),
        ("gemma2_27b_en", 512),
        ("gemma3_instruct_270m", 512),
        ("gemma3_instruct_1b", 512),
        ("gemma3_instruct_27b_text", 512),
        ("gemma4_2b", 256),
    ],
)
def test_every_gemma_that_is_known_by_name_has_heads_for_the_kernel(
    preset: str, block: int
) -> None:
    config = model_config(ModelRecipe(preset=preset))
    found = path(config)
    assert (found.name, found.block) == ("splash", block)
    assert path(config, platform="gpu", asked="fused").name == "fused"


@pytest.mark.parametrize(
    ("heads", "kv_heads", "cuts", "expected"),
    [
        (8, 4, 1, True),
        (8, 4, 4, True),  # each device has a key head of its own
        (8, 4, 8, True),  # two devices share one
        (8, 1, 8, True),
        (12, 4, 2, True),
        (12, 3, 2, False),  # the second of three key heads would be needed by both
        (12, 4, 6, False),
    ],
)
def test_heads_are_dealt_out_only_with_whole_keys(
    heads: int, kv_heads: int, cuts: int, expected: bool
) -> None:
    config = tiny_gemma3(heads=heads, kv_heads=kv_heads, head_dim=128)
    assert deals_out(config, cuts) is expected
    assert (path(config, cuts=cuts).name == "splash") is expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["splash", "512", "not run on a TPU", 'train.attention = "plain"']),
        (
            {"platform": "gpu", "asked": "fused"},
            ["our own kernels", "64", "not run on a GPU", 'train.attention = "plain"'],
        ),
        ({"asked": "plain"}, ["plain XLA", 'train.attention is "plain"']),
        ({"platform": "gpu"}, ["plain XLA", "GPU", 'train.attention = "fused"']),
        ({"platform": "cpu"}, ["by blocks of 128, without a kernel (in plain XLA)."]),
        ({"length": 512}, ["rows of 512 tokens", "with a mask"]),
    ],
)
def test_a_person_reads_what_runs_and_why(changes: dict[str, Any], words: list[str]) -> None:
    text = path(**changes).in_words(changes.get("length", 2048))
    assert all(word in text for word in words), text


FUSED: dict[str, Any] = {"platform": "gpu", "dtype": "bfloat16", "asked": "fused"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"platform": "cpu"}, "a CPU has none"),
        ({"dtype": "float32"}, "doesn't take float32"),
        ({"capability": "7.5"}, "compute capability 8.0 or more, not 7.5"),
        ({"capability": "gfx942"}, "NVIDIA .* not gfx942"),
        ({"cuts": 2}, "can't be dealt out over 2 devices"),
    ],
)
def test_a_kernel_that_is_demanded_and_isn_t_there_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    config = tiny_gemma3(heads=12, kv_heads=3, head_dim=256)
    with pytest.raises(RecipeError, match=words) as refused:
        check_attention(config, **{**FUSED, **changes})
    assert refused.value.code == "NO_FUSED_ATTENTION"
    assert 'train.attention = "auto"' in str(refused.value)
    check_attention(config, **{**FUSED, **changes, "asked": "auto"})


@pytest.mark.parametrize("capability", [None, "8.0", "9.0", "12.0"])
def test_a_kernel_that_is_there_may_be_demanded(capability: str | None) -> None:
    check_attention(tiny_gemma3(head_dim=256), capability=capability, **FUSED)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_products_are_offloaded_from_devices_with_memory_of_their_own(platform: str) -> None:
    check_remat("offload", platform)


def test_a_processor_has_nothing_to_offload_to() -> None:
    for remat in ("none", "dots", "full"):
        check_remat(remat, "cpu")
    with pytest.raises(RecipeError, match='train.remat = "dots"') as refused:
        check_remat("offload", "cpu")
    assert refused.value.code == "NOTHING_TO_OFFLOAD"

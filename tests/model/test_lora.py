"""LoRA: scaling by hand, merging, and files that `peft` reads and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.lora import (
    Adapters,
    init_adapters,
    load_adapter,
    merge,
    save_adapter,
    unmerge,
)
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import LORA_TARGETS, LoraRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.model.test_forward import forward, random_adapters, relative
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_runs import tiny_model


@pytest.fixture(scope="module")
def tuned(tiny_tokenizer: Tokenizer) -> Model:
    model = tiny_model(tiny_tokenizer)
    lora = LoraRecipe(rank=4, alpha=12.0)
    return model.replace(adapters=random_adapters(model.config, lora, size=0.1))


def states(model: Model) -> np.ndarray:
    ids = np.random.default_rng(0).integers(4, 400, (1, 20))
    return forward(model.config, model.weights, ids, adapters=model.adapters)


def test_the_scale_is_alpha_over_rank_or_over_its_root() -> None:
    config = tiny_gemma3()
    assert init_adapters(config, LoraRecipe(rank=16, alpha=8.0)).scale == 0.5
    assert init_adapters(config, LoraRecipe(rank=16, alpha=8.0, use_rslora=True)).scale == 2.0


def test_all_linear_means_all_seven_and_order_does_not_matter() -> None:
    assert LoraRecipe().projections == LORA_TARGETS
    assert LoraRecipe(targets=("v_proj", "q_proj")).projections == ("q_proj", "v_proj")


def test_a_projection_starts_alike_whichever_others_are_targeted() -> None:
    config = tiny_gemma3()
    every = init_adapters(config, LoraRecipe(rank=4))
    some = init_adapters(config, LoraRecipe(rank=4, targets=("v_proj",)))
    np.testing.assert_array_equal(every.tree["v_proj"]["a"], some.tree["v_proj"]["a"])
    assert float(jnp.abs(some.tree["v_proj"]["a"]).max()) <= 1 / np.sqrt(config.width)


def test_a_rank_above_the_matrix_is_refused_with_the_highest_allowed() -> None:
    with pytest.raises(ModelError, match="at most 32"):
        init_adapters(tiny_gemma3(), LoraRecipe(rank=33, targets=("q_proj",)))


def test_merged_equals_live_and_the_base_is_left_as_it_was(tuned: Model) -> None:
    before = jax.tree.map(np.asarray, tuned.weights)
    merged = merge(tuned)
    assert merged.adapters is None
    assert relative(states(merged), states(tuned)) < 1e-5
    assert relative(states(tuned.replace(adapters=None)), states(tuned)) > 1e-2
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(tuned.weights), strict=True):
        np.testing.assert_array_equal(one, other)
    assert merged.weights["embedding"] is tuned.weights["embedding"]


def test_one_merged_entry_is_the_sum_worked_out_by_hand(tuned: Model) -> None:
    assert tuned.adapters is not None
    pair = tuned.adapters.tree["v_proj"]
    product = np.asarray(pair["a"][1], np.float64)[3] @ np.asarray(pair["b"][1], np.float64)[:, 5]
    expected = float(tuned.weights["layers"]["v_proj"][1, 3, 5]) + 12.0 / 4 * product
    found = merge(tuned).weights["layers"]["v_proj"][1, 3, 5]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_unmerge_undoes_merge_up_to_rounding(tuned: Model) -> None:
    assert tuned.adapters is not None
    again = unmerge(merge(tuned), tuned.adapters)
    for name in LORA_TARGETS:
        one, other = again.weights["layers"][name], tuned.weights["layers"][name]
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert relative(states(again), states(tuned)) < 1e-5


def test_merging_nothing_and_unmerging_twice_are_refused(tuned: Model) -> None:
    with pytest.raises(ValueError, match="no adapters"):
        merge(tuned.replace(adapters=None))
    assert tuned.adapters is not None
    with pytest.raises(ValueError, match="merge them first"):
        unmerge(tuned, tuned.adapters)


def test_a_saved_adapter_comes_back_bit_for_bit(tuned: Model, tmp_path: Path) -> None:
    assert tuned.adapters is not None
    save_adapter(tmp_path, tuned.adapters, tuned.config, base_name="tiny")
    again = load_adapter(tmp_path, tuned.config)
    assert again.config == tuned.adapters.config
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(tuned.adapters), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_peft_computes_the_same_with_a_saved_adapter(tmp_path: Path, use_rslora: bool) -> None:
    import peft
    import torch

    config = tiny_gemma3()
    hf = tiny_hf(config)
    weights = weights_from_hf(hf, config)
    lora = LoraRecipe(rank=4, alpha=6.0, use_rslora=use_rslora)
    adapters = random_adapters(config, lora, size=0.05)
    save_adapter(tmp_path, adapters, config, base_name="tiny")
    ids = np.random.default_rng(0).integers(4, 400, (2, 20))
    with torch.no_grad():
        base = hf.model(torch.tensor(ids)).last_hidden_state.numpy()
        live: Any = peft.PeftModel.from_pretrained(hf, str(tmp_path))
        theirs = live.base_model.model.model(torch.tensor(ids)).last_hidden_state.numpy()
    ours = forward(config, weights, ids, adapters=adapters)
    assert relative(ours, theirs) < 1e-5
    assert relative(base, theirs) > 1e-2


def test_an_adapter_that_peft_wrote_is_read(tmp_path: Path) -> None:
    import peft
    import torch

    config = tiny_gemma3()
    hf = tiny_hf(config)
    weights = weights_from_hf(hf, config)
    settings = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    torch.manual_seed(0)
    theirs: Any = peft.get_peft_model(hf, settings).eval()
    theirs.save_pretrained(str(tmp_path))
    adapters = load_adapter(tmp_path, config)
    assert adapters.config.projections == ("q_proj", "down_proj")
    ids = np.random.default_rng(0).integers(4, 400, (1, 12))
    with torch.no_grad():
        expected = theirs.base_model.model.model(torch.tensor(ids)).last_hidden_state.numpy()
    assert relative(forward(config, weights, ids, adapters=adapters), expected) < 1e-4


def broken(folder: Path, adapters: Adapters, **changes: object) -> None:
    save_adapter(folder, adapters, tiny_gemma3(), base_name="tiny")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"peft_type": "IA3"}, "ADAPTER_KIND"),
        ({"use_dora": True}, "ADAPTER_KIND"),
        ({"rank_pattern": {"q_proj": 2}}, "ADAPTER_KIND"),
        ({"bias": "all"}, "ADAPTER_KIND"),
        ({"r": 0}, "ADAPTER_CONFIG"),
        ({"target_modules": ["c_attn"]}, "ADAPTER_CONFIG"),
        ({"r": 8}, "ADAPTER_FIT"),
        ({"target_modules": ["q_proj"]}, "ADAPTER_FIT"),
    ],
)
def test_adapters_of_another_kind_or_shape_are_refused(
    tuned: Model, tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    assert tuned.adapters is not None
    broken(tmp_path, tuned.adapters, **changes)
    with pytest.raises(ModelError) as caught:
        load_adapter(tmp_path, tuned.config)
    assert caught.value.code == code


def test_a_truncated_or_missing_adapter_file_is_an_error_that_names_the_folder(
    tuned: Model, tmp_path: Path
) -> None:
    assert tuned.adapters is not None
    save_adapter(tmp_path, tuned.adapters, tuned.config, base_name="tiny")
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=tmp_path.name):
        load_adapter(tmp_path, tuned.config)
    file.unlink()
    with pytest.raises(ModelError, match=tmp_path.name):
        load_adapter(tmp_path, tuned.config)

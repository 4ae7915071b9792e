from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.errors import ExportError
from gemma_keras_tune.exporters.peft import hub_name, write_peft
from gemma_keras_tune.model.forward import hidden_states, logits
from gemma_keras_tune.model.lora import load_adapter
from gemma_keras_tune.model.value import ModelSource
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import tiny_gemma3


@pytest.mark.parametrize("use_rslora", [False, True])
def test_an_adapter_that_peft_made_computes_the_same_here(tmp_path, use_rslora):
    import torch
    from peft import LoraConfig, get_peft_model

    config = tiny_gemma3()
    base = tiny_hf(config)
    weights = weights_from_hf(base, config)
    lora = LoraConfig(
        r=3,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj", "down_proj"],
        use_rslora=use_rslora,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    tuned = get_peft_model(base, lora).eval()
    tuned.save_pretrained(tmp_path)
    ids = np.array([[2, 17, 301, 44, 9, 120, 77, 5, 260, 31, 18, 90]])
    with torch.inference_mode():
        theirs = tuned(input_ids=torch.tensor(ids)).logits.numpy()
        with tuned.disable_adapter():
            plain = tuned(input_ids=torch.tensor(ids)).logits.numpy()
    adapters = load_adapter(tmp_path, config)
    hidden = hidden_states(
        config,
        weights,
        jnp.asarray(ids, jnp.int32),
        positions=jnp.arange(ids.shape[1])[None],
        segment_ids=jnp.ones(ids.shape, jnp.int32),
        adapters=adapters,
    )
    np.testing.assert_allclose(logits(config, weights, hidden), theirs, atol=1e-4)
    assert np.abs(theirs - plain).max() > 0.1


def test_what_is_written_reads_back_bit_for_bit(tuned, tmp_path):
    write_peft(tmp_path, tuned)
    back = load_adapter(tmp_path, tuned.config)
    assert back.scale == tuned.adapters.scale
    for name, pair in tuned.adapters.tree.items():
        for part in ("a", "b"):
            np.testing.assert_array_equal(back.tree[name][part], pair[part])


def test_without_an_adapter_there_is_nothing_to_write(tuned, tmp_path):
    with pytest.raises(ExportError, match="has no adapter") as caught:
        write_peft(tmp_path, tuned.replace(adapters=None))
    assert caught.value.code == "EXPORT_NO_ADAPTER"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("gemma3_instruct_1b", "preset", "google/gemma-3-1b-it"),
        ("kaggle://keras/gemma3/keras/gemma3_270m/3", "kaggle", "google/gemma-3-270m"),
        ("hf://google/gemma-3-1b-it", "hf", "google/gemma-3-1b-it"),
        ("hf://google/gemma-3-4b-it", "hf", None),
        ("gemma3_4b_text", "preset", None),
        ("gemma2_instruct_2b_en", "preset", "google/gemma-2-2b-it"),
        ("hf://google/gemma-2-2b-it", "hf", "google/gemma-2-2b-it"),
        ("hf://google/gemma-4-E2B-it", "hf", None),
        ("demo", "demo", None),
        ("my-folder", "hf_folder", None),
    ],
)
def test_the_base_is_named_as_peft_can_load_it_or_not_at_all(name, kind, expected):
    assert hub_name(ModelSource(name=name, kind=kind)) == expected


def test_the_adapter_names_its_base(tuned, tmp_path):
    write_peft(tmp_path, tuned)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "tiny"

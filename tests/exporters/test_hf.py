from __future__ import annotations

import json
import tracemalloc
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from gemma_keras_tune.errors import ExportError
from gemma_keras_tune.exporters.hf import hf_tensors, write_hf
from gemma_keras_tune.exporters.hf_config import hf_config, hf_generation_config
from gemma_keras_tune.exporters.safetensors_writer import Tensor, write_sharded
from gemma_keras_tune.model.config import layer_pattern
from gemma_keras_tune.model.huggingface import read_config, read_tokenizer_proto, read_weights
from gemma_keras_tune.model.lora import merge
from gemma_keras_tune.text.template import template_for
from tests.exporters.conftest import FLOAT32, SMALL_SHARDS, tuned_tiny
from tests.support.hf_models import weights_from_hf
from tests.support.tiny_models import tiny_gemma3


def test_the_folder_reads_back_as_the_merged_model(tuned, tmp_path):
    write_hf(tmp_path, tuned, FLOAT32)
    assert read_config(tmp_path) == tuned.config
    assert read_tokenizer_proto(tmp_path) == tuned.tokenizer.proto
    weights = read_weights(tmp_path, tuned.config, dtype=np.float32)
    merged = merge(tuned).weights
    np.testing.assert_array_equal(weights["embedding"], merged["embedding"])
    for name, array in merged["layers"].items():
        np.testing.assert_allclose(weights["layers"][name], array, atol=1e-6)


def test_transformers_finds_every_tensor_under_its_own_name(tuned, tmp_path):
    from transformers import AutoModelForCausalLM

    write_hf(tmp_path, tuned.replace(adapters=None), FLOAT32)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    model, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    found = weights_from_hf(model, tuned.config)
    for name, array in tuned.weights["layers"].items():
        np.testing.assert_array_equal(found["layers"][name], array)


def test_sharded_files_hold_the_same_tensors_as_a_single_one(gate):
    single = load_file(gate.root / "hf" / "model.safetensors")
    index = json.loads((gate.root / "shards" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(single)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in single.values())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    for file in files:
        with safe_open(gate.root / "shards" / file, "np") as shard:
            tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
        assert sum(t.nbytes for t in tensors.values()) <= SMALL_SHARDS.max_shard_bytes
        for name, tensor in tensors.items():
            assert index["weight_map"][name] == file
            np.testing.assert_array_equal(tensor, single[name])


def test_bfloat16_is_rounded_once_from_the_float32_sum(gate):
    import torch
    from safetensors.torch import load_file as load_torch

    exact = load_torch(gate.root / "hf" / "model.safetensors")
    rounded = load_torch(gate.root / "bf16" / "model.safetensors")
    for name, tensor in exact.items():
        assert torch.equal(rounded[name], tensor.to(torch.bfloat16)), name


def test_writing_needs_no_second_copy_of_the_model(tmp_path):
    model = tuned_tiny(vocab_size=200_000, width=64)  # the embedding takes 51 MB
    tracemalloc.start()
    write_sharded(
        tmp_path, hf_tensors(model), dtype=np.dtype(np.float32), max_shard_bytes=2_000_000_000
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_config_speaks_as_googles_own_files_do(tuned):
    config = hf_config(tuned.config, tuned.template, dtype="bfloat16")
    assert config["model_type"] == "gemma3_text"
    assert config["max_position_embeddings"] == 1024
    assert config["query_pre_attn_scalar"] == 16
    assert config["layer_types"] == ["sliding_attention"] * 5 + ["full_attention"]
    assert config["sliding_window_pattern"] == 6
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)
    assert config["rope_scaling"] is None
    # beside rope_theta, this one makes vLLM over transformers 4 refuse the file
    assert "rope_parameters" not in config
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (
        2,
        [1, 7],
        0,
    )
    assert config["torch_dtype"] == config["dtype"] == "bfloat16"


def test_transformers_reads_linear_rope_scaling_and_both_bases(tuned):
    from transformers import Gemma3TextConfig

    ours = tiny_gemma3(rope_scaling=8.0, rope_theta=5e5, rope_theta_local=2e4)
    read = Gemma3TextConfig(**hf_config(ours, tuned.template, dtype="float32"))
    assert read.rope_parameters is not None
    assert read.rope_parameters["full_attention"] == {
        "rope_type": "linear",
        "factor": 8.0,
        "rope_theta": 5e5,
    }
    assert read.rope_parameters["sliding_attention"]["rope_theta"] == 2e4


def test_generation_stops_where_the_templates_answers_end(tuned):
    assert hf_generation_config(tuned.template)["eos_token_id"] == [1, 7]
    plain = template_for("plain", tuned.tokenizer)
    assert hf_generation_config(plain)["eos_token_id"] == 1


def test_an_odd_pattern_of_layers_is_named_layer_by_layer(tuned):
    odd = tiny_gemma3(layer_is_local=(True, False, True, True, False, False))
    config = hf_config(odd, tuned.template, dtype="float32")
    assert "sliding_window_pattern" not in config
    assert config["layer_types"].count("full_attention") == 3
    assert layer_pattern(6, every=6) == tiny_gemma3().layer_is_local


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"query_scale": 0.3}, "0.3"),
        ({"post_norms": False}, "post_norms = False"),
        ({"norm_offset": 0.0}, "norm_offset = 0.0"),
        ({"width": 30}, "width = 30"),
    ],
)
def test_what_hugging_face_cannot_say_is_refused(tuned, changes, said):
    with pytest.raises(ExportError, match=said) as caught:
        hf_config(tiny_gemma3(**changes), tuned.template, dtype="float32")
    assert caught.value.code == "EXPORT_CONFIG"


def test_the_27b_has_another_query_scale_that_can_be_said(tuned):
    config = tiny_gemma3(query_scale=168**-0.5)
    assert hf_config(config, tuned.template, dtype="float32")["query_pre_attn_scalar"] == 168


def test_a_weight_that_is_not_finite_is_never_exported(tuned, tmp_path):
    layers = dict(tuned.weights["layers"])
    layers["up_proj"] = layers["up_proj"].at[3, 0, 0].set(jnp.nan)
    broken = tuned.replace(weights={**tuned.weights, "layers": layers})
    with pytest.raises(ExportError, match=r"layers\.3\.mlp\.up_proj") as caught:
        write_hf(tmp_path, broken, FLOAT32)
    assert caught.value.code == "EXPORT_NOT_FINITE"


def test_a_tensor_larger_than_a_shard_gets_one_of_its_own(tmp_path):
    def tensor(name, rows):
        return Tensor(name=name, shape=(rows, 1), blocks=lambda: [np.ones((rows, 1))])

    names = write_sharded(
        tmp_path,
        [tensor("a", 2), tensor("b", 100), tensor("c", 2)],
        dtype=np.dtype(np.float32),
        max_shard_bytes=16,
    )
    held = [sorted(load_file(tmp_path / name)) for name in names]
    assert held == [["a"], ["b"], ["c"]]

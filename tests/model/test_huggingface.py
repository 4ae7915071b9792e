"""Hugging Face folders: what `transformers` writes is what we read."""

import json
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.huggingface_config import model_config
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.recipe import ModelRecipe
from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_tokenizer import tiny_proto

CONFIG = tiny_gemma3(layers=7)


@pytest.fixture(scope="module")
def hf_model():
    pytest.importorskip("transformers")
    from tests.support.hf_models import tiny_hf

    return tiny_hf(CONFIG)


@pytest.fixture(scope="module")
def saved(hf_model, tmp_path_factory) -> Path:
    return save(hf_model, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the saved model that a test may spoil."""
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def save(hf_model, folder: Path, **how) -> Path:
    hf_model.save_pretrained(folder, **how)
    (folder / "tokenizer.model").write_bytes(tiny_proto())
    return folder


def load(folder: Path, dtype="float32"):
    return load_model(ModelRecipe(preset=str(folder), dtype=dtype))


def test_hidden_states_equal_those_of_transformers_past_the_window(hf_model, saved):
    import torch

    model = load(saved)
    ids = np.random.default_rng(0).integers(0, CONFIG.vocab_size, (2, 40))
    with torch.no_grad():
        theirs = hf_model.model(torch.from_numpy(ids)).last_hidden_state.numpy()
    positions = jnp.broadcast_to(jnp.arange(40, dtype=jnp.int32), (2, 40))
    ours = jax.jit(hidden_states, static_argnums=0)(
        model.config,
        model.weights,
        jnp.asarray(ids, jnp.int32),
        positions=positions,
        segment_ids=jnp.ones((2, 40), jnp.int32),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_the_config_of_a_saved_model_comes_back(saved):
    model = load(saved)
    assert model.config == CONFIG
    assert (model.source.kind, model.source.name) == ("hf_folder", saved.name)
    assert model.template.name == "plain"


def test_shards_hold_the_same_weights_as_one_file(hf_model, saved, tmp_path):
    save(hf_model, tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    whole, shards = load(saved), load(tmp_path)
    for name, value in whole.weights["layers"].items():
        assert np.array_equal(value, shards.weights["layers"][name]), name
    assert np.array_equal(whole.weights["embedding"], shards.weights["embedding"])
    assert whole.source.sha256 != shards.source.sha256


def test_float32_files_round_to_the_nearest_bfloat16(saved):
    exact, rounded = load(saved), load(saved, "bfloat16")
    assert rounded.dtype == jnp.bfloat16
    expected = np.asarray(exact.weights["layers"]["q_proj"]).astype(ml_dtypes.bfloat16)
    assert np.array_equal(np.asarray(rounded.weights["layers"]["q_proj"]), expected)


def test_tensors_larger_than_a_block_are_read_whole(saved, monkeypatch):
    expected = load(saved).weights["embedding"]
    monkeypatch.setattr("gemma_keras_tune.model.safetensors_file.BLOCK_BYTES", 1000)
    assert np.array_equal(load(saved).weights["embedding"], expected)


def test_the_text_part_of_a_picture_model_is_loaded_from_either_naming(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": config}))
    tensors = load_file(folder / "model.safetensors")
    expected = tensors["model.layers.0.mlp.up_proj.weight"].T
    for prefix in ("language_model.model.", "model.language_model."):
        renamed = {name.replace("model.", prefix, 1): value for name, value in tensors.items()}
        renamed["vision_tower.encoder.weight"] = np.zeros((2, 2), np.float32)
        save_file(renamed, folder / "model.safetensors")
        assert np.array_equal(load(folder).weights["layers"]["up_proj"][0], expected)


def test_a_chat_template_with_gemmas_markers_means_instruct(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ text }}"}))
    assert load(folder).template.name == "plain"
    (folder / "chat_template.jinja").write_text("<start_of_turn>{{ role }}")
    model = load(folder)
    assert model.template.name == "gemma"
    assert model.source.instruct


def test_a_tensor_that_is_missing_is_named(folder):
    respell(folder, lambda tensors: tensors.pop("model.layers.4.self_attn.k_norm.weight"))
    expect(folder, "MODEL_TENSOR_MISSING", r"k_norm\[4\]")


def test_a_tensor_that_has_no_place_is_named(folder):
    extra = np.zeros((2, 2), np.float32)
    respell(folder, lambda tensors: tensors.update({"model.layers.0.extra.weight": extra}))
    expect(folder, "MODEL_TENSOR_UNKNOWN", "model.layers.0.extra.weight")


def test_a_layer_too_many_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 6, "layer_types": config["layer_types"][:6]}
    (folder / "config.json").write_text(json.dumps(config))
    expect(folder, "MODEL_TENSOR_UNKNOWN", r"layers\.6\.")


def test_a_key_of_a_layer_too_many_is_refused(folder):
    """It isn't taken for one that a family may leave out."""
    name = "model.layers.7.self_attn.k_proj.weight"
    respell(folder, lambda tensors: tensors.update({name: np.zeros((32, 32), np.float32)}))
    expect(folder, "MODEL_TENSOR_UNKNOWN", r"layers\.7\.self_attn\.k_proj")


def test_a_tensor_of_another_shape_is_named(folder):
    def shrink(tensors):
        tensors["model.norm.weight"] = np.zeros(8, np.float32)

    respell(folder, shrink)
    expect(folder, "MODEL_TENSOR_SHAPE", "model.norm.weight")


def test_whole_numbers_are_no_weights(folder):
    def quantise(tensors):
        tensors["model.norm.weight"] = np.zeros(32, np.int8)

    respell(folder, quantise)
    expect(folder, "MODEL_DTYPE", "I8")


@pytest.mark.parametrize("kept", [0, 4, 100, 3000, -1])
def test_a_file_cut_short_anywhere_is_found(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    expect(folder, "MODEL_FILE_DAMAGED", "not complete")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{not json",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [8, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}',
    ],
)
def test_a_header_that_lies_is_found(folder, header):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    expect(folder, "MODEL_FILE_DAMAGED", "model.safetensors")


def test_pickled_weights_are_never_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    expect(folder, "MODEL_PICKLE", "run code")


def test_an_index_can_not_point_out_of_the_folder(folder):
    index = {"weight_map": {"model.norm.weight": "../secrets.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    expect(folder, "MODEL_FILE_MISSING", "secrets")


def test_a_folder_without_a_tokenizer_says_so(folder):
    (folder / "tokenizer.model").unlink()
    expect(folder, "MODEL_NO_TOKENIZER", "tokenizer.model")


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(folder):
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 300}
    (folder / "config.json").write_text(json.dumps(config))
    expect(folder, "MODEL_TOKENIZER", "400 tokens")


BASE = {
    "model_type": "gemma3_text",
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,
    "max_position_embeddings": 1024,
}


def test_rope_is_read_as_version_4_of_transformers_writes_it():
    version_4 = BASE | {
        "rope_theta": 500_000.0,
        "rope_local_base_freq": 20_000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window_pattern": 3,
    }
    config = model_config(version_4, where="here")
    assert (config.rope_theta, config.rope_theta_local, config.rope_scaling) == (5e5, 2e4, 8.0)
    assert config.layer_is_local == (True, True, False, True, True, False, True)


def test_rope_is_read_as_version_5_of_transformers_writes_it():
    version_5 = BASE | {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20_000.0},
        },
        "layer_types": ["sliding_attention", "full_attention"] * 3 + ["sliding_attention"],
    }
    config = model_config(version_5, where="here")
    assert (config.rope_theta, config.rope_theta_local, config.rope_scaling) == (5e5, 2e4, 8.0)
    assert config.layer_is_local == (True, False, True, False, True, False, True)


def test_a_multimodal_config_relies_on_the_defaults_of_transformers():
    # text_config of google/gemma-3-4b-it, whole
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    config = model_config({"model_type": "gemma3", "text_config": text}, where="here")
    assert (config.heads, config.kv_heads, config.head_dim) == (8, 4, 256)
    assert (config.vocab_size, config.max_positions, config.rope_scaling) == (262_208, 131_072, 8.0)


def test_the_query_scale_of_the_27b_is_not_the_size_of_its_heads():
    config = model_config(BASE | {"query_pre_attn_scalar": 8}, where="here")
    assert config.query_scale == pytest.approx(8**-0.5)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model_type": "llama"}, "MODEL_TYPE"),
        ({"model_type": "gemma3"}, "MODEL_TYPE"),
        ({"attention_bias": True}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"hidden_activation": "relu"}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"use_bidirectional_attention": True}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"quantization_config": {"bits": 4}}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"layer_types": ["linear_attention"] * 7}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 8.0}}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"hidden_size": "wide"}, "MODEL_CONFIG"),
        ({"num_key_value_heads": 3}, "MODEL_CONFIG"),
        ({"layer_types": ["full_attention"]}, "MODEL_CONFIG"),
        ({"query_pre_attn_scalar": 0}, "MODEL_CONFIG"),
    ],
)
def test_what_is_not_supported_is_refused(change, code):
    with pytest.raises(ModelError) as caught:
        model_config(BASE | change, where="here")
    assert caught.value.code == code
    assert "here" in str(caught.value)


def respell(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def expect(folder: Path, code: str, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        load(folder)
    assert caught.value.code == code

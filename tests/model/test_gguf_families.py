"""GGUF files of every family, named by the map of llama.cpp's own package and read by us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.inspect_files import inspect_model
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.recipe import ModelRecipe
from tests.model.test_pieces import as_llama_cpp_writes_it
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import TINY_FAMILIES

gguf = pytest.importorskip("gguf")
# llama.cpp has no VaultGemma, and tells the 27B by their number of layers
FAMILIES = {
    name: config
    for name, config in TINY_FAMILIES.items()
    if config.family != "vaultgemma" and not name.endswith("27b")
}
VOCAB = 400


def small(config: GemmaConfig) -> GemmaConfig:
    """The same shapes with the tiny tokenizer's vocabulary."""
    per_layer = VOCAB if config.per_layer_width else 0
    values = config.to_json() | {"vocab_size": VOCAB, "per_layer_vocab": per_layer}
    return GemmaConfig.from_json(values)


def write(path: Path, config: GemmaConfig, *, leave_out: str = "", **changes: Any) -> Any:
    """A GGUF file as llama.cpp's converter lays it out; gives the model it was made of."""
    model = tiny_hf(config)
    arch = config.family
    kind = getattr(gguf.MODEL_ARCH, arch.upper())
    writer = gguf.GGUFWriter(path, arch)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_context_length(config.max_positions)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_rms_eps(config.rms_eps)
    _write_attention(writer, config)
    _write_tokenizer(writer, arch)
    for key, value in changes.items():
        writer.add_uint32(f"{arch}.{key}", value)
    names = gguf.get_tensor_name_map(kind, config.layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tied:
            continue
        if name.endswith("layer_scalar"):
            name += ".weight"
        found = names.get_name(name, try_suffixes=(".weight",))
        assert found is not None, name
        values = tensor.numpy()
        if found.endswith("norm.weight"):
            values = values + np.float32(config.norm_offset)
        if found != leave_out:
            writer.add_tensor(found, np.ascontiguousarray(values))
    if config.shared_kv_layers:  # as Google's files have them, and so llama.cpp's
        shared = f"blk.{config.layers - 1}"
        writer.add_tensor(f"{shared}.attn_k.weight", np.ones((64, config.width), np.float32))
        writer.add_tensor(f"{shared}.attn_k_norm.weight", np.ones(32, np.float32))
    if config.rope_share != 1.0:
        half = config.global_head_dim // 2
        turned = int(half * config.rope_share)
        factors = np.array([1.0] * turned + [1e30] * (half - turned), np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _write_attention(writer: Any, config: GemmaConfig) -> None:
    if config.family == "gemma4":
        writer.add_key_length(config.global_head_dim)
        writer.add_key_length_swa(config.head_dim)
        writer.add_shared_kv_layers(config.shared_kv_layers)
        writer.add_embedding_length_per_layer_input(config.per_layer_width)
        writer.add_sliding_window_pattern(list(config.layer_is_local))
        writer.add_rope_freq_base(config.rope_theta)
        if config.wide_shared:
            writer.add_feed_forward_length([kind.hidden_dim for kind in config.kinds])
        else:
            writer.add_feed_forward_length(config.hidden_dim)
        if config.global_kv_heads:
            writer.add_head_count_kv([kind.kv_heads for kind in config.kinds])
        else:
            writer.add_head_count_kv(config.kv_heads)
    else:
        writer.add_feed_forward_length(config.hidden_dim)
        writer.add_head_count_kv(config.kv_heads)
        writer.add_key_length(config.head_dim)
    if config.family != "gemma":
        writer.add_sliding_window(config.sliding_window)
    if config.family == "gemma2":
        writer.add_attn_logit_softcapping(config.attention_softcap)
    if config.final_softcap is not None:
        writer.add_final_logit_softcapping(config.final_softcap)
    if config.rope_scaling != 1.0:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling)


def _write_tokenizer(writer: Any, arch: str) -> None:
    tokens, scores, kinds = as_llama_cpp_writes_it()
    writer.add_tokenizer_model("gemma4" if arch == "gemma4" else "llama")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_scores(scores)
    if arch == "gemma4":  # its vocabulary has merges, in the order that the scores say
        ordered = sorted(
            (piece for piece, kind in zip(tokens, kinds, strict=True) if kind == 1),
            key=lambda piece: -scores[tokens.index(piece)],
        )
        known = set(tokens)
        merges = [
            f"{piece[:cut]} {piece[cut:]}"
            for piece in ordered
            for cut in range(1, len(piece))
            if piece[:cut] in known and piece[cut:] in known
        ]
        writer.add_token_merges(merges)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_of_every_family_is_the_model_it_was_made_of(name: str, tmp_path: Path) -> None:
    config = small(FAMILIES[name])
    model = write(tmp_path / "m.gguf", config)
    loaded = load_model(ModelRecipe(preset=str(tmp_path / "m.gguf"), dtype="float32"))
    expected = config.to_json() | {
        # what only layers with a window have isn't in the file of one without
        "sliding_window": config.sliding_window if any(config.layer_is_local) else 0,
    }
    found = loaded.config.to_json()
    assert found.pop("rms_eps") == pytest.approx(expected.pop("rms_eps"))
    assert found == expected
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6),
        loaded.weights,
        weights_from_hf(model, config),
    )
    assert inspect_model(tmp_path / "m.gguf")["config"] == loaded.config.to_json()
    assert loaded.tokenizer.encode("Are we still meeting?  \n") == reference_ids()


def reference_ids() -> list[int]:
    from gemma_keras_tune.text.tokenizer import Tokenizer
    from tests.support.tiny_tokenizer import tiny_proto

    return Tokenizer(tiny_proto()).encode("Are we still meeting?  \n")


def test_the_27b_is_told_by_its_number_of_layers(tmp_path: Path) -> None:
    config = small(FAMILIES["gemma2"])
    layers = 46
    values = config.to_json() | {
        "layers": layers,
        "layer_is_local": [index % 2 == 0 for index in range(layers)],
    }
    write(tmp_path / "m.gguf", GemmaConfig.from_json(values))
    loaded = load_model(ModelRecipe(preset=str(tmp_path / "m.gguf"), dtype="float32"))
    assert loaded.config.query_scale == (config.width // config.heads) ** -0.5
    assert jnp.shape(loaded.weights["layers"]["q_proj"])[0] == layers


def test_a_mixture_of_experts_is_refused_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", small(FAMILIES["gemma4-large"]), expert_count=8)
    with pytest.raises(ModelError, match="mixture of experts") as raised:
        load_model(ModelRecipe(preset=str(tmp_path / "m.gguf")))
    assert raised.value.code == "MODEL_MIXTURE_OF_EXPERTS"


def test_a_missing_tensor_of_a_layer_that_shares_is_named(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", small(FAMILIES["gemma4-small"]), leave_out="blk.4.inp_gate.weight")
    with pytest.raises(ModelError, match=r"per_layer_input_gate\[4\]"):
        load_model(ModelRecipe(preset=str(tmp_path / "m.gguf"), dtype="float32"))

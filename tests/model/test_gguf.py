"""GGUF files: what llama.cpp's own writer writes is what we read."""

from pathlib import Path

import numpy as np
import pytest

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model import gguf_file
from gemma_keras_tune.model.gguf import GGUF_LAYER_NAMES
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.model.weights import PROJECTIONS, init_random
from gemma_keras_tune.recipe import ModelRecipe
from tests.model.test_pieces import TEXTS, as_llama_cpp_writes_it, ids
from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_tokenizer import tiny_proto

gguf = pytest.importorskip("gguf")
Kind = gguf.GGMLQuantizationType
CONFIG = tiny_gemma3(vocab_size=400, rope_scaling=8.0)


def write(
    path: Path, *, kind=Kind.F32, chat_template="", leave_out=(), split_count=0, **metadata
) -> dict:
    """A GGUF file as `convert_hf_to_gguf` lays it out; gives the weights it was made of."""
    weights = init_random(CONFIG, seed=3)
    writer = gguf.GGUFWriter(path, "gemma3")
    values = {
        "embedding_length": CONFIG.width,
        "block_count": CONFIG.layers,
        "feed_forward_length": CONFIG.hidden_dim,
        "attention.head_count": CONFIG.heads,
        "attention.head_count_kv": CONFIG.kv_heads,
        "attention.key_length": CONFIG.head_dim,
        "attention.sliding_window": CONFIG.sliding_window,
        "context_length": CONFIG.max_positions,
        **metadata,
    }
    for name, value in values.items():
        if name not in leave_out:
            writer.add_uint32(f"gemma3.{name}", value)
    writer.add_float32("gemma3.attention.layer_norm_rms_epsilon", CONFIG.rms_eps)
    writer.add_float32("gemma3.rope.freq_base", CONFIG.rope_theta)
    writer.add_string("gemma3.rope.scaling.type", "linear")
    writer.add_float32("gemma3.rope.scaling.factor", CONFIG.rope_scaling)
    tokens, scores, kinds = as_llama_cpp_writes_it()
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    if split_count:
        writer.add_uint16("split.count", split_count)
    if chat_template:
        writer.add_chat_template(chat_template)
    for name, value, quantised in tensors(weights, kind):
        if name not in leave_out:
            writer.add_tensor(name, gguf.quantize(value, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def tensors(weights: dict, kind):
    yield "token_embd.weight", np.asarray(weights["embedding"]), kind
    yield "output_norm.weight", np.asarray(weights["final_norm"]) + 1, Kind.F32
    for ours, theirs in GGUF_LAYER_NAMES.items():
        if ours not in weights["layers"]:  # of another family
            continue
        for layer, value in enumerate(np.asarray(weights["layers"][ours])):
            matrix = ours in PROJECTIONS
            stored = np.ascontiguousarray(value.T) if matrix else value + 1
            yield f"blk.{layer}.{theirs}.weight", stored, kind if matrix else Kind.F32


def load(path: Path, **how):
    return load_model(ModelRecipe(preset=str(path), dtype="float32", **how))


def test_an_unquantised_file_gives_back_config_weights_and_tokenizer(tmp_path):
    weights = write(tmp_path / "m.gguf")
    model = load(tmp_path / "m.gguf")
    assert model.config == CONFIG
    assert np.array_equal(model.weights["embedding"], weights["embedding"])
    for name, value in weights["layers"].items():
        exact = 0 if name in PROJECTIONS else 1e-7  # adding 1 to a norm rounds it
        np.testing.assert_allclose(model.weights["layers"][name], value, atol=exact, err_msg=name)
    assert ids(model.tokenizer.proto) == ids(tiny_proto())
    assert len(ids(model.tokenizer.proto)) == len(TEXTS)
    assert (model.source.kind, model.source.name) == ("gguf", "m.gguf")


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0, Kind.Q5_1, Kind.F16, Kind.BF16])
def test_quantised_tensors_are_what_the_gguf_package_makes_of_them(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(gguf_file, "BLOCK_BYTES", 1000)
    weights = write(tmp_path / "m.gguf", kind=kind)
    model = load(tmp_path / "m.gguf")
    up = np.ascontiguousarray(np.asarray(weights["layers"]["up_proj"][2]).T)
    expected = gguf.dequantize(gguf.quantize(up, kind), kind).T
    assert np.array_equal(model.weights["layers"]["up_proj"][2], expected)


def test_the_header_agrees_with_the_package_of_llama_cpp(tmp_path):
    write(tmp_path / "m.gguf", kind=Kind.Q8_0)
    ours, theirs = gguf_file.read_gguf(tmp_path / "m.gguf"), gguf.GGUFReader(tmp_path / "m.gguf")
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert (mine.name, mine.start, mine.kind) == (
            other.name,
            other.data_offset,
            other.tensor_type,
        )
        assert mine.shape == tuple(reversed(other.shape.tolist()))
    for key, value in ours.metadata.items():
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        assert plain == theirs.fields[key].contents(), key


def test_a_chat_template_with_gemmas_markers_means_instruct(tmp_path):
    write(tmp_path / "m.gguf", chat_template="{{ bos_token }}<start_of_turn>")
    assert load(tmp_path / "m.gguf").template.name == "gemma"
    assert load(tmp_path / "m.gguf", template="plain").template.name == "plain"


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.05, 0.3, 0.999])
def test_a_file_cut_short_anywhere_is_found(tmp_path, share):
    path = tmp_path / "m.gguf"
    write(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    expect(path, "MODEL_FILE_DAMAGED", "m.gguf")


def test_a_length_that_no_file_can_hold_costs_no_memory(tmp_path):
    path = tmp_path / "m.gguf"
    write(path)
    data = bytearray(path.read_bytes())
    data[8:16] = (2**60).to_bytes(8, "little")  # the number of tensors
    path.write_bytes(data)
    expect(path, "MODEL_FILE_DAMAGED", "1,152,921,504,606,846,976")


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"PK\x03\x04 a zip file")
    expect(path, "MODEL_FILE_DAMAGED", "GGUF")


def test_another_architecture_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expect(tmp_path / "m.gguf", "MODEL_TYPE", "llama")


def test_missing_metadata_and_tensors_are_named(tmp_path):
    write(tmp_path / "a.gguf", leave_out=("block_count",))
    expect(tmp_path / "a.gguf", "MODEL_CONFIG", "gemma3.block_count")
    write(tmp_path / "b.gguf", leave_out=("blk.2.ffn_up.weight",))
    expect(tmp_path / "b.gguf", "MODEL_TENSOR_MISSING", r"up_proj\[2\]")


def test_one_part_of_a_split_file_is_told_from_a_damaged_one(tmp_path):
    write(tmp_path / "m-00001-of-00002.gguf", split_count=2)
    expect(tmp_path / "m-00001-of-00002.gguf", "MODEL_SPLIT_FILE", "one part of 2")


def test_sizes_that_contradict_the_tensors_are_found(tmp_path):
    write(tmp_path / "m.gguf", feed_forward_length=128)
    expect(tmp_path / "m.gguf", "MODEL_TENSOR_SHAPE", "ffn_")


def expect(path: Path, code: str, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        load(path)
    assert caught.value.code == code

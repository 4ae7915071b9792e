"""KerasHub at both ends: we read its presets, and what `to_keras` gives computes the same."""

import json
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from gemma_keras_tune.catalogue import catalogue, why_not
from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.keras import from_keras
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.model.lora import Adapters, init_adapters
from gemma_keras_tune.model.value import Model, ModelSource
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.recipe import LoraRecipe, ModelRecipe
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_tokenizer import tiny_proto

CONFIG = tiny_gemma3(layers=7, vocab_size=400, max_positions=32_768)
LENGTH = 30


def model_of(config: GemmaConfig, *, dtype=jnp.float32) -> Model:
    tokenizer = Tokenizer(tiny_proto())
    return Model(
        config=config,
        weights=init_random(config, seed=5, dtype=dtype),
        tokenizer=tokenizer,
        template=template_for("plain", tokenizer),
        source=ModelSource(name="tiny", kind="random"),
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(CONFIG)


@pytest.fixture(scope="module")
def causal_lm(model):
    return model.to_keras()


@pytest.fixture(scope="module")
def preset(causal_lm, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("preset")
    causal_lm.save_to_preset(str(folder))
    return folder


@pytest.fixture
def folder(preset, tmp_path) -> Path:
    """A copy of the preset that a test may spoil."""
    for path in preset.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(preset)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path


def ours(model: Model, token_ids: np.ndarray) -> jax.Array:
    positions = jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), token_ids.shape)
    return jax.jit(hidden_states, static_argnums=0)(
        model.config,
        model.weights,
        jnp.asarray(token_ids),
        positions=positions,
        segment_ids=jnp.ones_like(positions),
        adapters=model.adapters,
    )


def theirs(backbone, token_ids: np.ndarray) -> np.ndarray:
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return np.asarray(jax.jit(lambda inputs: backbone(inputs))(inputs))


def some_ids() -> np.ndarray:
    return np.random.default_rng(0).integers(4, 400, (2, LENGTH), dtype=np.int32)


def same_weights(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_to_keras_computes_the_same_hidden_states_past_the_window(model, causal_lm):
    expected = theirs(causal_lm.backbone, some_ids())
    np.testing.assert_allclose(
        ours(model, some_ids()), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_from_keras_undoes_to_keras(model, causal_lm):
    config, weights = from_keras(causal_lm.backbone)
    assert config == CONFIG
    same_weights(weights, model.weights)


def test_to_keras_shares_the_embedding_instead_of_copying_it(model, causal_lm):
    value = causal_lm.backbone.token_embedding.embeddings.value
    shared = model.weights["embedding"].unsafe_buffer_pointer()
    assert value.unsafe_buffer_pointer() == shared


def test_the_keras_model_has_the_adapters_merged_and_generates_text():
    config = tiny_gemma3(layers=1, vocab_size=400)
    base = model_of(config)
    start = init_adapters(config, LoraRecipe(rank=2, seed=1))
    moved = jax.tree.map(lambda a: a + 0.02, start.tree)
    adapted = base.replace(adapters=Adapters(tree=moved, config=start.config))
    expected = ours(adapted, some_ids())
    moves = np.abs(expected - ours(base, some_ids())).max() / np.abs(expected).max()
    assert moves > 0.01
    causal_lm = adapted.to_keras()
    got = theirs(causal_lm.backbone, some_ids())
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    prompt = "The quick brown fox"
    assert causal_lm.generate(prompt, max_length=24).startswith(prompt)


def test_a_query_scale_by_width_is_computed_in_spite_of_kerashubs_decoder_block():
    # as in the 27B: width / heads is not the size of a head
    config = tiny_gemma3(layers=1, vocab_size=400, query_scale=(32 // 4) ** -0.5)
    model = model_of(config)
    backbone = model.to_keras().backbone
    assert backbone.get_config()["query_head_dim_normalize"] is False
    expected = ours(model, some_ids())
    np.testing.assert_allclose(
        theirs(backbone, some_ids()), expected, atol=1e-5 * np.abs(expected).max()
    )
    other = ours(model_of(tiny_gemma3(layers=1, vocab_size=400)), some_ids())
    assert np.abs(other - expected).max() > 1e-2


def test_another_backend_of_keras_is_refused(model, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    with pytest.raises(ModelError, match="KERAS_BACKEND=jax"):
        model.to_keras()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"query_scale": 0.3}, "query_scale 0.3"),
        ({"layer_is_local": (True, False) * 3}, "layer_is_local"),
        ({"rope_theta": 5e5}, "rope_theta 500000"),
        ({"rope_theta_local": 2e4}, "rope_theta_local 20000"),
        ({"rms_eps": 1e-5}, "rms_eps 1e-05"),
    ],
)
def test_a_config_that_kerashub_can_not_express_is_refused(change, named):
    with pytest.raises(ModelError, match=named) as caught:
        model_of(tiny_gemma3(vocab_size=400, **change)).to_keras()
    assert caught.value.code == "KERAS_NOT_EXPRESSIBLE"


def test_a_saved_preset_loads_with_config_weights_and_tokenizer(model, preset):
    loaded = load_model(ModelRecipe(preset=str(preset), dtype="float32"))
    assert loaded.config == CONFIG
    same_weights(loaded.weights, model.weights)
    assert loaded.tokenizer == model.tokenizer
    assert loaded.source.kind == "keras_folder"
    assert len(loaded.source.sha256) == 64


def test_a_preset_in_bfloat16_and_in_shards_loads_the_same(tmp_path):
    model = model_of(tiny_gemma3(vocab_size=400), dtype=jnp.bfloat16)
    causal_lm = model.to_keras()
    causal_lm.save_to_preset(str(tmp_path), max_shard_size=0.00006)
    assert len(list(tmp_path.glob("model_*.weights.h5"))) > 1
    loaded = load_model(ModelRecipe(preset=str(tmp_path), dtype="bfloat16"))
    assert loaded.dtype == ml_dtypes.bfloat16
    same_weights(loaded.weights, model.weights)


def test_the_catalogue_agrees_with_kerashub():
    import keras_hub

    classes = (
        getattr(keras_hub.models, f"{name}Backbone") for name in ("Gemma", "Gemma3", "Gemma4")
    )
    known = {name: preset for one in classes for name, preset in one.presets.items()}
    known |= keras_hub.models.Gemma3nBackbone.presets
    for entry in catalogue()[1:]:
        preset = known[entry.name]
        assert entry.handle == preset["kaggle_handle"]
        whole = preset["metadata"]["params"]
        beside = whole - entry.parameters  # pictures and sound; Gemma 4's numbers are rounded
        reads_more = entry.size.startswith("gemma4") or "_text" not in entry.name
        assert beside == 0 or (reads_more and 0 < beside < 0.11 * whole)
    # every Gemma that KerasHub knows is listed, or refused with a reason
    listed = {entry.name for entry in catalogue()[1:]}
    assert {name for name in known if name not in listed} == {
        name for name in known if why_not(name)
    }
    assert not any(why_not(name) for name in listed)


def test_an_instruct_name_means_the_gemma_template(folder):
    renamed = folder.rename(folder.with_name("my_gemma3_instruct_tiny"))
    assert load_model(ModelRecipe(preset=str(renamed))).template.name == "gemma"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_a_weight_file_cut_short_is_found(folder, share):
    path = folder / "model.weights.h5"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    expect(folder, "MODEL_FILE_DAMAGED", "not complete")


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("elsewhere.h5", "/x"), h5py.SoftLink("/elsewhere")]
)
def test_links_out_of_the_weight_file_are_refused(folder, link):
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file["layers/zzz"] = link
    expect(folder, "MODEL_OUTSIDE_FILE", "layers/zzz")


def test_data_kept_in_another_file_is_refused(folder):
    name = "layers/rms_normalization/vars/0"
    (folder / "elsewhere.bin").write_bytes(bytes(4 * CONFIG.width))
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        del file[name]
        place = [(str(folder / "elsewhere.bin"), 0, 4 * CONFIG.width)]
        file.create_dataset(name, (CONFIG.width,), np.float32, external=place)
    expect(folder, "MODEL_OUTSIDE_FILE", "another file")


def test_a_virtual_dataset_is_refused(folder):
    name = "layers/rms_normalization/vars/0"
    layout = h5py.VirtualLayout((CONFIG.width,), np.float32)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (CONFIG.width,))
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        del file[name]
        file.create_virtual_dataset(name, layout)
    expect(folder, "MODEL_OUTSIDE_FILE", "another file")


def test_a_variable_that_has_no_place_is_named(folder):
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file["layers/gemma3_decoder_block/attention/query_dense/vars/1"] = np.zeros(3)
    expect(folder, "MODEL_TENSOR_UNKNOWN", "query_dense/vars/1")


def test_a_variable_that_is_missing_is_named(folder):
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        del file["layers/gemma3_decoder_block_2/ffw_linear/vars/0"]
    expect(folder, "MODEL_TENSOR_MISSING", r"down_proj\[2\]")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dropout", 0.1),
        ("use_bidirectional_attention", True),
        ("is_embedding_model", True),
        ("local_rope_scaling_factor", 2.0),
        ("use_post_ffw_norm", False),
        ("dtype", {"class_name": "QuantizedDTypePolicy", "config": {}}),
    ],
)
def test_a_preset_that_asks_for_what_is_not_computed_here_is_refused(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    config["config"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    expect(folder, "MODEL_CONFIG_UNSUPPORTED", key.replace("use_post_ffw", "use_post_attention"))


def test_another_class_is_refused(folder):
    config = json.loads((folder / "config.json").read_text()) | {"class_name": "BertBackbone"}
    (folder / "config.json").write_text(json.dumps(config))
    expect(folder, "MODEL_TYPE", "BertBackbone")


def test_a_preset_without_a_tokenizer_says_so(folder):
    (folder / "assets/tokenizer/vocabulary.spm").unlink()
    expect(folder, "MODEL_NO_TOKENIZER", r"vocabulary\.spm")


def expect(folder: Path, code: str, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        load_model(ModelRecipe(preset=str(folder), dtype="float32"))
    assert caught.value.code == code

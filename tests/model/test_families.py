"""Every family from the files that `transformers` and KerasHub write, and with adapters of PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.families import FAMILIES
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.model.lora import load_adapter
from gemma_keras_tune.model.value import Model, ModelSource
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.recipe import ModelRecipe
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.model.test_forward import forward, relative
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import (
    TINY_FAMILIES,
    slow_but,
    tiny_gemma1,
    tiny_gemma4,
    tiny_gemma4_large,
)
from tests.support.tiny_tokenizer import tiny_proto

HF_MODELS = TINY_FAMILIES | {"gemma-untied": tiny_gemma1(tied=False)}


def saved(config: GemmaConfig, folder: Path) -> Any:
    """The folder that `transformers` writes of a random model, and the model."""
    pytest.importorskip("transformers")
    model = tiny_hf(config)
    model.save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(tiny_proto())
    return model


def loaded(folder: Path, **how: Any) -> Model:
    return load_model(ModelRecipe(preset=str(folder), dtype="float32", **how))


def small_model(name: str) -> Model:
    """A random model of that shape, with the tiny tokenizer and its vocabulary."""
    values = TINY_FAMILIES[name].to_json() | {"vocab_size": 400}
    if values["per_layer_vocab"]:
        values["per_layer_vocab"] = 400
    config, tokenizer = GemmaConfig.from_json(values), Tokenizer(tiny_proto())
    return Model(
        config=config,
        weights=init_random(config, seed=5),
        tokenizer=tokenizer,
        template=template_for("plain", tokenizer),
        source=ModelSource(name="tiny", kind="random"),
    )


def same(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def without_unused(config: GemmaConfig) -> dict[str, Any]:
    """The config without what layers of its kinds never ask, and a file need not say."""
    unused = {"sliding_window"} if not any(config.layer_is_local) else set()
    return {key: value for key, value in config.to_json().items() if key not in unused}


@pytest.mark.parametrize("name", HF_MODELS)
def test_a_hugging_face_folder_gives_config_and_weights(name: str, tmp_path: Path) -> None:
    config = HF_MODELS[name]
    hf = saved(config, tmp_path)
    model = loaded(tmp_path)
    assert without_unused(model.config) == without_unused(config)
    same(model.weights, weights_from_hf(hf, config))


@pytest.mark.parametrize("name", slow_but(TINY_FAMILIES, "gemma3"))
def test_a_keras_preset_gives_config_and_weights(name: str, tmp_path: Path) -> None:
    model = small_model(name)
    config = model.config
    causal_lm = model.to_keras()
    causal_lm.save_to_preset(str(tmp_path))
    again = loaded(tmp_path)
    # KerasHub's settings don't say how long a text may be
    assert without_unused(again.config) | {"max_positions": 1024} == without_unused(config)
    same(again.weights, model.weights)
    prompt = "The quick brown fox"
    assert causal_lm.generate(prompt, max_length=24).startswith(prompt)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("gemma2", "int8"),
        ("gemma3", "int4"),
        ("gemma4-small", "int8"),
    ],
)
def test_the_keras_model_can_be_quantised_and_says_nearly_the_same(name: str, mode: str) -> None:
    model = small_model(name)
    causal_lm = model.to_keras()
    ids = np.random.default_rng(0).integers(4, 400, (1, 20))
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    if "position_ids" in causal_lm.input:
        inputs["position_ids"] = np.arange(20)[None]
    before = np.asarray(jax.jit(lambda x: causal_lm(x))(inputs))
    causal_lm.quantize(mode)
    after = np.asarray(jax.jit(lambda x: causal_lm(x))(inputs))
    apart = np.abs(after - before).mean() / before.std()
    # Gemma 4's inputs by layer are quantised too, and small numbers are normalised
    most = {"int8": 0.5, "int4": 0.9} if name == "gemma4-small" else {"int8": 0.1, "int4": 0.6}
    assert 1e-4 < apart < most[mode]
    assert isinstance(causal_lm.generate("The quick", max_length=16), str)


@pytest.mark.parametrize("template", ["tied", "with pictures"])
def test_what_other_files_hold_beside_the_text_is_left_there(template: str, tmp_path: Path) -> None:
    """Keys of layers that share, a copy of the embedding, pictures and sound, as in Google's."""
    config = tiny_gemma4()
    hf = saved(config, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.4.self_attn.k_proj.weight"] = np.ones((32, 32), np.float32)
    tensors["model.layers.4.self_attn.k_norm.weight"] = np.ones(16, np.float32)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    if template == "with pictures":
        tensors = {
            name.replace("model.", "model.language_model."): t for name, t in tensors.items()
        }
        tensors["model.vision_tower.encoder.layers.0.mlp.up_proj.weight"] = np.ones((2, 2))
        tensors["model.embed_audio.embedding_projection.weight"] = np.ones((2, 2))
        text = json.loads((tmp_path / "config.json").read_text())
        outer = {"model_type": "gemma4", "text_config": text | {"model_type": "gemma4_text"}}
        (tmp_path / "config.json").write_text(json.dumps(outer))
    save_file(tensors, path)
    same(loaded(tmp_path).weights, weights_from_hf(hf, config))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"enable_moe_block": True}, "MODEL_MIXTURE_OF_EXPERTS"),
        ({"model_type": "gemma3n_text"}, "MODEL_TYPE"),
        ({"attention_bias": True}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"num_kv_shared_layers": 6}, "MODEL_CONFIG"),
        ({"per_layer_config": {"0": {"head_dim": 32}}}, "MODEL_CONFIG_UNSUPPORTED"),
        ({"per_layer_config": {"2": {"width": 9}, "5": {"width": 9}}}, "MODEL_CONFIG_UNSUPPORTED"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}},
            "MODEL_CONFIG_UNSUPPORTED",
        ),
    ],
)
def test_what_is_not_computed_here_is_refused(
    change: dict[str, Any], code: str, tmp_path: Path
) -> None:
    saved(tiny_gemma4(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError) as raised:
        loaded(tmp_path)
    assert raised.value.code == code


@pytest.mark.parametrize("name", ["gemma4_26b_a4b", "embedding_gemma3_300m", "pali_gemma_3b_mix"])
def test_presets_that_can_not_be_trained_say_why(name: str) -> None:
    with pytest.raises(ModelError, match="can't be loaded: it ") as raised:
        load_model(ModelRecipe(preset=name))
    assert raised.value.code == "MODEL_NOT_SUPPORTED"


@pytest.mark.parametrize("name", HF_MODELS)
def test_an_adapter_that_peft_made_for_any_family_is_read(name: str, tmp_path: Path) -> None:
    """On all seven projections, several key heads, layers without keys of their own."""
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    config = HF_MODELS[name]
    hf = tiny_hf(config)
    weights = weights_from_hf(hf, config)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuned = peft.get_peft_model(
        hf, peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, task_type="CAUSAL_LM")
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for key, parameter in tuned.named_parameters():
            if "lora_B" in key:
                parameter.normal_(0.0, 0.02)
    tuned.save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(4, 400, (1, 24))
    with torch.no_grad():
        expected = tuned(torch.tensor(ids), output_hidden_states=True).hidden_states[-1].numpy()
    adapters = load_adapter(tmp_path, config)
    found = forward(config, weights, ids, adapters=adapters)
    assert relative(found, expected) < 2e-5
    assert relative(forward(config, weights, ids), expected) > 1e-3  # it does something


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_template_of_its_own(name: str) -> None:
    template = template_for(FAMILIES[name].template, Tokenizer(tiny_proto()))
    assert template.stop_ids[0] == template.answer_end[0]


def test_layers_of_one_shape_lie_in_one_array() -> None:
    weights = init_random(tiny_gemma4_large(), seed=0)["layers"]
    assert jnp.shape(weights["q_proj"]) == (2, 32, 64)
    assert jnp.shape(weights["q_proj.2"]) == (1, 32, 128)  # the global layer's heads
    assert jnp.shape(weights["v_proj"])[0] == 2  # whose keys are values too

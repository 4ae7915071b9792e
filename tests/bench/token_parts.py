"""How long a processor takes for each part of a new token of the real 270M.

    python -m tests.bench.token_parts [--rows 8] [--slots 96] [--dtype float32]

Prints one Markdown table: the least of 20 times. Rows share a step; one row alone waits for little
but the weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from gemma_keras_tune.evaluation.sampling import choose, make_sampling
from gemma_keras_tune.model.decode import empty_cache
from gemma_keras_tune.model.decode_layers import extend_by_layers, layers_in_place
from gemma_keras_tune.model.forward import logits
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.recipe import ModelRecipe

TIMES = 20


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--slots", type=int, default=96, help="tokens of a row in the cache")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    model = load_model(ModelRecipe(dtype=given.dtype))
    config, weights, rows = model.config, model.weights, given.rows
    layers = layers_in_place(config, weights, None)
    if layers is None:
        raise SystemExit("The parts can be told apart on a processor only.")
    cache = empty_cache(config, batch=rows, slots=given.slots, dtype=model.dtype, by_layer=True)
    token_ids, starts = jnp.ones((rows, 1), jnp.int32), jnp.full(rows, given.slots - 1, jnp.int32)

    def through_layers() -> jax.Array:
        nonlocal cache
        given = (config, weights, layers, token_ids)
        hidden, cache = extend_by_layers(*given, starts=starts, cache=cache)
        return hidden[:, 0]

    head, choice = jax.jit(logits, static_argnums=0), jax.jit(choose)
    hidden = through_layers()
    found = head(config, weights, hidden)
    flat = jax.random.normal(jax.random.key(1), found.shape)
    keys = jax.random.split(jax.random.key(0), rows)
    print("| part | ms |\n|---|---|")
    print(f"| layers | {milliseconds(through_layers):.1f} |")
    print(f"| head | {milliseconds(lambda: head(config, weights, hidden)):.1f} |")
    for what, of, temperature, top_p in (
        ("the largest", found, 0.0, None),
        ("temperature 1", found, 1.0, None),
        ("top-p 0.95 of a flat distribution", flat, 1.0, 0.95),
    ):
        how = make_sampling(temperature, None, top_p, vocab_size=config.vocab_size)
        print(f"| choice: {what} | {milliseconds(partial(choice, of, how, keys)):.1f} |")


def milliseconds(work: Callable[[], jax.Array]) -> float:
    """The least that it takes, once it is compiled."""
    work().block_until_ready()
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work().block_until_ready()
        found.append(time.perf_counter() - began)
    return 1e3 * min(found)


if __name__ == "__main__":
    main()

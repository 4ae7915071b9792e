"""Training speed on an accelerator, on the shapes of Gemma 3 and Gemma 2 with random weights.

    python -m tests.bench.device [--shapes 270m,1b,4b,gemma2-2b] [--length 1024] [--peft]
                                 [--attention auto,fused]

Prints one Markdown table: LoRA of rank 8 on all seven projections, packed rows of random tokens of
which 35 % are answers, bfloat16 weights. The share of the peak is the model's operations, without
what is computed again, over a matrix product measured in the same process. `--peft` adds
`transformers` with PEFT on the same shapes and tokens in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

SHARE_ANSWERS = 0.35
RANK = 8
SHAPES = {
    "270m": "gemma3_instruct_270m",
    "1b": "gemma3_instruct_1b",
    "4b": "gemma3_instruct_4b_text",
    "gemma2-2b": "gemma2_2b_en",
}
"""Models by name; their sizes are those of their published configurations."""


@dataclass(frozen=True)
class Work:
    """One measurement: a shape, and how many tokens an optimizer step sees.

    How it trains are words of the command line, which the recipe checks.
    """

    shape: str
    length: int
    rows: int
    remat: Any = "dots"
    attention: Any = "auto"

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.rows * self.length


def main() -> None:
    """Print the table; each line is measured in a process that has the device alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--length", type=int, default=1024, help="tokens of a row")
    parser.add_argument("--rows", type=int, default=8, help="rows of a step")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--remat", default="dots,full")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--peft", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(one_row(given), flush=True)
        return
    print("| what | tokens/s | answer tokens/s | share of peak | peak device MB | first step s |")
    print("|---|---|---|---|---|---|", flush=True)
    ways = itertools.product(given.remat.split(","), given.attention.split(","))
    kinds = [*map(":".join, ways), *(["peft"] if given.peft else [])]
    for shape in given.shapes.split(","):
        for kind in kinds:
            measure(f"{shape}:{kind}", given)


def measure(what: str, given: argparse.Namespace) -> None:
    """Prints one line, or why there is none."""
    command = [sys.executable, "-m", "tests.bench.device", "--one", what]
    sizes = {"length": given.length, "rows": given.rows, "steps": given.steps}
    options = [word for key, value in sizes.items() for word in (f"--{key}", str(value))]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    why = (done.stderr.strip().splitlines() or [""])[-1][:120]
    print(done.stdout.strip() if done.returncode == 0 else f"| {what} | {why} |", flush=True)
    print(*(line for line in done.stderr.splitlines() if "TFLOP/s" in line), file=sys.stderr)


def one_row(given: argparse.Namespace) -> str:
    """The line that `--one SHAPE:REMAT:ATTENTION` or `--one SHAPE:peft` asks for."""
    shape, *how = given.one.split(":")
    if how == ["peft"]:
        return peft_row(Work(shape, given.length, given.rows), given.steps)
    import jax

    from gemma_keras_tune.machine import matrix_gflops

    peak, device = matrix_gflops(dtype="bfloat16") * 1e9, jax.devices()[0]
    print(
        f"{device.device_kind}, JAX {jax.__version__}: {peak / 1e12:,.0f} TFLOP/s", file=sys.stderr
    )
    return our_row(Work(shape, given.length, given.rows, *how), given.steps, peak)


def our_row(work: Work, steps: int, peak: float) -> str:
    """One line of the table, measured."""
    import jax
    import jax.numpy as jnp

    from gemma_keras_tune.model.lora import init_adapters
    from gemma_keras_tune.model.paths import check_attention
    from gemma_keras_tune.model.weights import weight_shapes
    from gemma_keras_tune.planning.speed import needed_operations
    from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
    from gemma_keras_tune.training.step import initial_state, train_step

    config, attention = config_of(work), work.attention
    check_attention(
        config,
        platform=jax.default_backend(),
        dtype="bfloat16",
        asked=attention,
    )
    shapes = weight_shapes(config)
    keys = iter(jax.random.split(jax.random.key(0), 64))

    def random(shape: tuple[int, ...]) -> jax.Array:
        scale = shape[-2] ** -0.5 if len(shape) > 1 else 0.1
        return jax.random.normal(next(keys), shape, jnp.bfloat16) * scale

    weights = jax.tree.map(random, shapes, is_leaf=lambda value: isinstance(value, tuple))
    recipe = TrainRecipe(
        remat=work.remat,
        attention=attention,
        loss_chunk=1024,
        learning_rate=1e-5,
    )
    lora = LoraRecipe(rank=RANK)
    state = initial_state(init_adapters(config, lora), recipe)
    batch = random_batch(work, config.vocab_size)
    begun = time.perf_counter()
    state, found = train_step(state, weights, batch, config=config, recipe=recipe, step=1)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for number in range(steps):
        state, found = train_step(
            state, weights, batch, config=config, recipe=recipe, step=2 + number
        )
    seconds = (time.perf_counter() - begun) / steps
    lengths = [work.length] * work.rows
    needed = needed_operations(config, lora, lengths=lengths, answers=found.answer_tokens)
    share = needed / seconds / peak
    stats = jax.local_devices()[0].memory_stats() or {}
    return (
        f"| ours, {work.shape}, {work.rows} x {work.length}, remat {work.remat}, "
        f"attention {attention} "
        f"| {work.tokens / seconds:,.0f} | {found.answer_tokens / seconds:,.0f} | {share:.0%} "
        f"| {stats.get('peak_bytes_in_use', 0) / 1e6:,.0f} | {first:.1f} |"
    )


def config_of(work: Work) -> Any:
    """The sizes of the work's model."""
    from gemma_keras_tune.planning.known_models import model_config
    from gemma_keras_tune.recipe import ModelRecipe

    return model_config(ModelRecipe(preset=SHAPES[work.shape]))


def random_batch(work: Work, words: int) -> dict[str, Any]:
    """One micro-batch of rows that hold one segment each."""
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(0)
    ids = rng.integers(3, words, (1, work.rows, work.length))
    mask = rng.random(ids.shape) < SHARE_ANSWERS
    arrays = {
        "token_ids": ids,
        "targets": np.roll(ids, -1, axis=-1),
        "loss_mask": mask,
        "positions": np.broadcast_to(np.arange(work.length), ids.shape),
        "segment_ids": np.ones_like(ids),
    }
    return {name: jnp.asarray(array, jnp.int32) for name, array in arrays.items()}


def peft_row(work: Work, steps: int) -> str:
    """`transformers` with PEFT on the same shapes and tokens: plain loop, AdamW.

    Its attention is SDPA; of Gemma 2, whose scores are capped, its own ("eager").
    """
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        Gemma3ForCausalLM,
        Gemma3TextConfig,
    )

    sizes = config_of(work)
    is_capped = sizes.attention_softcap is not None
    kinds: Any = (Gemma3ForCausalLM, Gemma3TextConfig)
    if is_capped:
        kinds = (Gemma2ForCausalLM, Gemma2Config)
    config = kinds[1](
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        intermediate_size=sizes.hidden_dim,
        head_dim=sizes.head_dim,
        query_pre_attn_scalar=round(sizes.query_scale**-2),
        sliding_window=sizes.sliding_window,
    )
    attention = "eager" if is_capped else "sdpa"
    config._attn_implementation = attention
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model: Any = kinds[0](config)
        torch.set_default_dtype(torch.float32)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=16, target_modules=names))
    model.train()
    chosen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=1e-5)
    rng = np.random.default_rng(0)
    ids = torch.tensor(rng.integers(3, sizes.vocab_size, (work.rows, work.length)), device=device)
    mask = torch.tensor(rng.random((work.rows, work.length)) < SHARE_ANSWERS, device=device)
    labels = torch.where(mask, ids, -100)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(chosen, 1.0)
        optimizer.step()
        return float(loss.detach())

    begun = time.perf_counter()
    step()
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = (time.perf_counter() - begun) / steps
    memory = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0
    answers = int(mask.sum())
    return (
        f"| PEFT, {work.shape}, {work.rows} x {work.length}, checkpointed, {attention} "
        f"| {work.tokens / seconds:,.0f} | {answers / seconds:,.0f} | "
        f"| {memory:,.0f} | {first:.1f} |"
    )


if __name__ == "__main__":
    main()

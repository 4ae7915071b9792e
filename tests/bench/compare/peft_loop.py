"""PEFT with `transformers` and a plain PyTorch loop: rows padded to their batch, or packed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gemma_keras_tune.data.batches import make_batch
from gemma_keras_tune.data.pack import packing_plan
from gemma_keras_tune.data.tokenize import TokenSet
from gemma_keras_tune.machine import peak_memory_bytes

from .shared import (
    COMPARED,
    LEARNING_RATE,
    LENGTH,
    PACKED_ROWS,
    PAD,
    RANK,
    TARGETS,
    Clock,
    Found,
    in_turn,
    padded,
    tokens_in,
)

IGNORED = -100


def measure(folder: Path, *, dtype: str, packed: bool) -> Found:
    """One pass over the rows.

    Args:
        folder: With `tokens.npz`, and the weights as `hf/`.
        dtype: Of the frozen weights: `float32` or `bfloat16`.
        packed: Whether several examples share a row, without seeing each other.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tokens = tokens_in(folder)
    gflops = _matrix_gflops(dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder / "hf", dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(TARGETS)))
    before = loss_of(model, tokens)
    model.train()
    chosen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=LEARNING_RATE, weight_decay=0.0)
    batches = list((_packed if packed else _padded)(tokens, model.config.sliding_window))
    clock = Clock()
    for _, inputs in batches:
        clock.begin()
        optimizer.zero_grad(set_to_none=True)
        model(**inputs, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(chosen, 1.0)
        optimizer.step()
        clock.end()
    peak = peak_memory_bytes()
    return Found(
        members=[index for members, _ in batches[1:] for index in members],
        seconds=clock.rest,
        first_step_s=clock.first,
        peak_bytes=peak,
        matrix_gflops=max(gflops, _matrix_gflops(dtype)),
        loss_before=before,
        loss_after=loss_of(model, tokens),
        updates=len(batches),
        places=sum(inputs["input_ids"].numel() for _, inputs in batches[1:]),
    )


def _padded(tokens: TokenSet, window: int) -> Iterator[tuple[list[int], dict[str, Any]]]:
    import torch

    for members in in_turn(tokens):
        ids, supervised, is_token = padded(tokens, members)
        yield (
            members,
            {
                "input_ids": torch.tensor(ids, dtype=torch.long),
                "attention_mask": torch.tensor(is_token.astype(np.int64)),
                "labels": torch.tensor(np.where(supervised, ids, IGNORED), dtype=torch.long),
            },
        )


def _packed(tokens: TokenSet, window: int) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """The very batches of this library, with the masks that keep examples apart."""
    import torch

    rows = packing_plan(tokens.lengths, row_length=LENGTH, seed=0, epoch=0)
    for first in range(0, len(rows), PACKED_ROWS):
        part = rows[first : first + PACKED_ROWS]
        batch = make_batch(tokens, part, rows=PACKED_ROWS, length=LENGTH, pad_id=PAD)
        distance = batch.positions[:, :, None] - batch.positions[:, None, :]
        same = batch.segment_ids[:, :, None] == batch.segment_ids[:, None, :]
        seen = torch.tensor(same & (distance >= 0))[:, None]
        near = seen & torch.tensor(distance < window)[:, None]
        labels = np.full(batch.token_ids.shape, IGNORED, np.int64)
        answers = batch.loss_mask[:, :-1] > 0
        labels[:, 1:] = np.where(answers, batch.targets[:, :-1], IGNORED)
        yield (
            [index for row in part for index in row],
            {
                "input_ids": torch.tensor(batch.token_ids, dtype=torch.long),
                "position_ids": torch.tensor(batch.positions, dtype=torch.long),
                "attention_mask": {"full_attention": seen, "sliding_attention": near},
                "labels": torch.tensor(labels),
            },
        )


def loss_of(model: Any, tokens: TokenSet) -> float:
    """Nats per answer token of the first rows, one at a time."""
    import torch

    model.eval()
    nats, count = 0.0, 0
    for index in range(COMPARED):
        ids, supervised, _ = padded(tokens, [index])
        labels = torch.tensor(np.where(supervised, ids, IGNORED), dtype=torch.long)
        with torch.no_grad():
            loss = model(input_ids=torch.tensor(ids, dtype=torch.long), labels=labels).loss
        own = int(supervised[:, 1:].sum())
        nats, count = nats + float(loss) * own, count + own
    return nats / count


def _matrix_gflops(dtype: str) -> float:
    import torch

    matrix = torch.full((2048, 2048), 1e-3, dtype=getattr(torch, dtype))
    torch.matmul(matrix, matrix)
    best, until = float("inf"), time.monotonic() + 1.0
    while time.monotonic() < until:
        began = time.perf_counter()
        torch.matmul(matrix, matrix)
        best = min(best, time.perf_counter() - began)
    return float(2 * 2048**3 / best / 1e9)

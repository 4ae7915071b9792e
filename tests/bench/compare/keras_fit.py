"""KerasHub's own way: `enable_lora` and `fit`, rows padded to their longest allowed length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .shared import COMPARED, LEARNING_RATE, LENGTH, RANK, Clock, Found, in_turn, padded, tokens_in


def measure(folder: Path) -> Found:
    """One epoch of `fit` in float32.

    Args:
        folder: With `tokens.npz`.
    """
    import keras

    from gemma_keras_tune.machine import matrix_gflops, peak_memory_bytes
    from gemma_keras_tune.model.load import load_model
    from gemma_keras_tune.recipe import ModelRecipe

    tokens = tokens_in(folder)
    gflops = matrix_gflops()
    lm = load_model(ModelRecipe(dtype="float32")).to_keras()
    lm.preprocessor = None
    lm.backbone.enable_lora(RANK)  # query and value, by default
    before = loss_of(lm, tokens)
    lm.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.0, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batches = in_turn(tokens)
    x, y, weights = _arrays(tokens, [index for batch in batches for index in batch])
    clock = Clock()

    class Timed(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            clock.begin()

        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            float(logs["loss"])  # one program makes it and the update, so both are there
            clock.end()

    lm.fit(
        x, y, sample_weight=weights, batch_size=len(batches[0]), shuffle=False, verbose=0,
        callbacks=[Timed()],
    )  # fmt: skip
    peak = peak_memory_bytes()
    return Found(
        members=[index for batch in batches[1:] for index in batch],
        seconds=clock.rest,
        first_step_s=clock.first,
        peak_bytes=peak,
        matrix_gflops=max(gflops, matrix_gflops()),
        loss_before=before,
        loss_after=loss_of(lm, tokens),
        updates=len(batches),
        places=sum(len(batch) for batch in batches[1:]) * LENGTH,
    )


def _arrays(tokens: Any, members: list[int]) -> tuple[dict[str, Any], Any, Any]:
    ids, supervised, is_token = padded(tokens, members, length=LENGTH)
    x = {"token_ids": ids, "padding_mask": is_token.astype(np.int32)}
    weights = np.zeros(ids.shape, np.float32)
    weights[:, :-1] = supervised[:, 1:]
    return x, np.roll(ids, -1, axis=1), weights


def loss_of(lm: Any, tokens: Any) -> float:
    """Nats per answer token of the first rows, one at a time."""
    import jax

    nats, count = 0.0, 0.0
    for index in range(COMPARED):
        x, y, weights = _arrays(tokens, [index])
        logits = lm(x)
        chosen = np.take_along_axis(np.asarray(logits), y[..., None], axis=-1)[..., 0]
        losses = np.asarray(jax.nn.logsumexp(logits, axis=-1)) - chosen
        nats, count = nats + float((losses * weights).sum()), count + float(weights.sum())
    return nats / count

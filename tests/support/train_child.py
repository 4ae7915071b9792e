"""Trains the tiny model in a process of its own, to be killed: `python train_child.py FOLDER`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import jax
import numpy as np

from gemma_keras_tune.events import Event
from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
from gemma_keras_tune.run_folder import RunFolder, open_for_writing
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.training.checkpoints import CheckpointStore
from gemma_keras_tune.training.train import train
from tests.support.tiny_runs import spam_rows, tiny_model
from tests.support.tiny_tokenizer import tiny_proto


def main(folder: str) -> None:
    """Print `step N` after every step, and at the end the hash of the result."""
    model = tiny_model(Tokenizer(tiny_proto()), lora=LoraRecipe(rank=4, dropout=0.1))
    recipe = TrainRecipe(
        epochs=4,
        batch_tokens=128,
        micro_batch_tokens=64,
        learning_rate=1e-2,
        evaluate_every_steps=5,
        checkpoint_every_steps=2,
    )
    run = RunFolder(Path(folder))

    def tell(event: Event) -> None:
        if event.kind == "step":
            print("step", event.step, flush=True)

    with open_for_writing(run) as writer:
        result = train(
            model,
            spam_rows(30),
            recipe,
            validation=spam_rows(8, seed=1),
            store=CheckpointStore(run.checkpoints, attempt=writer.attempt),
            on_event=tell,
        )
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(result.model.adapters):
        digest.update(np.asarray(leaf).tobytes())
    print("result", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

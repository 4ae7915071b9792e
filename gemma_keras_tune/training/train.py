"""`train`: a model, its rows and a recipe, handed to the one loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..control_inbox import Inbox
from ..data.examples import Split
from ..data.parts import tokenize_split
from ..data.tokenize import TokenSet
from ..errors import expect
from ..events import Note, Warned
from ..model.mesh import MODEL
from ..model.paths import attention_path
from ..model.sharding import mesh_of
from ..model.value import Model
from ..recipe import TrainRecipe
from .checkpoints import CheckpointStore
from .live import Answer
from .loop import OnEvent, Run, TrainResult
from .measure import MeasureLabels
from .plan import TrainPlan


def train(
    model: Model,
    examples: Split,
    recipe: TrainRecipe,
    *,
    validation: Split | None = None,
    on_event: OnEvent | None = None,
    store: CheckpointStore | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    cache_dir: Any = None,
    inbox: Inbox | None = None,
    answer: Answer | None = None,
    measure_labels: MeasureLabels | None = None,
) -> TrainResult:
    """The model with trained adapters beside its weights.

    The base weights are not changed. Data order and every random key are pure functions of the
    seed and the step: on one machine and one version, a run that was interrupted and resumed
    gives the same bits as one that wasn't.

    Args:
        model: Start; its adapters, or fresh ones as `model.lora` says.
        examples: What to learn from.
        recipe: How.
        validation: Measures the loss at intervals; the best step's adapters are returned.
        on_event: Receives every event.
        store: Where checkpoints go and are resumed from; None keeps none.
        should_stop: Asked after each step; True saves a checkpoint and ends the run.
        cache_dir: A folder that keeps tokenised data.
        inbox: What others ask of the run while it works; read between two steps.
        answer: Answers prompts, for samples.
        measure_labels: Scores the labels of a classification at each measurement.

    Raises:
        RecipeError: `NOTHING_TO_OFFLOAD`, if `remat` is `offload` where no device has memory of
            its own; `NO_FUSED_ATTENTION`, if `attention` is `fused` where there is no kernel.
        DataError: If the examples can't be used.
        CheckpointError: If a checkpoint can't be written, or belongs to another run.
        StoppedWithCheckpoint: After `should_stop`, once the checkpoint is saved.
        TuneError: `LOSS_NAN` if the loss or the gradient is no number; `OUT_OF_MEMORY`; where
            several processes train together also `PEER_LOST` and `PEERS_DIFFER`.
        TypeError: If the rows, or the recipe, are more than the part that is needed.
    """
    expect("examples", examples, Split, such_as="load_examples(...).train")
    expect("recipe", recipe, TrainRecipe, such_as="recipe.train")
    if validation is not None:
        expect("validation", validation, Split, such_as="load_examples(...).validation")
    tell = on_event or (lambda event: None)
    if recipe.sample_every_steps and answer is None:
        text = "train.sample_prompts are not asked: train() was given no function `answer`."
        tell(Warned(code="NO_SAMPLES", message=text))

    def tokens_of(split: Split) -> TokenSet:
        tokens = tokenize_split(split, model.template, cache_dir=cache_dir)
        for finding in tokens.findings:
            tell(Warned(code=finding.code, message=str(finding)))
        return tokens

    plan = TrainPlan(
        tokens=tokens_of(examples),
        length=examples.max_length,
        recipe=recipe,
        pad_id=model.tokenizer.pad_id,
    )
    tell(Note(message=_attention_in_words(model, plan)))
    run = Run(
        model=model,
        examples=examples,
        plan=plan,
        validation=tokens_of(validation) if validation else None,
        on_event=tell,
        store=store,
        should_stop=should_stop,
        inbox=inbox,
        answer=answer,
        measure_labels=measure_labels,
    )
    return run.to_the_end()


def _attention_in_words(model: Model, plan: TrainPlan) -> str:
    """Which way the training's attention takes here, for people."""
    mesh = mesh_of(model.weights)
    path = attention_path(
        model.config,
        length=plan.length,
        platform=jax.default_backend(),
        dtype=str(model.dtype),
        asked=plan.recipe.attention,
        cuts=1 if mesh is None else mesh.shape[MODEL],
    )
    return path.in_words(plan.length)

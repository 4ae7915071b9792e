"""Fine-tune Google's Gemma models in JAX: data, training, evaluation and checked exports.

Names are imported on first use, so that `import gemma_keras_tune` costs nothing and the
command line can print its help without loading JAX.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("KERAS_BACKEND", "jax")

__version__ = "0.1.0"

_HOME_OF = {
    "Adapters": "model.lora",
    "Artifact": "exporters.artifact",
    "CheckpointError": "errors",
    "DataError": "errors",
    "ExportError": "errors",
    "MeshShape": "model.mesh",
    "Model": "model.value",
    "ModelError": "errors",
    "OutOfMemory": "errors",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "StoppedWithCheckpoint": "errors",
    "TrainResult": "training.loop",
    "TuneError": "errors",
    "Turn": "text.turns",
    "answer_table": "after_training",
    "by_itself": "model.sharding",
    "check_data": "data.check",
    "evaluate": "evaluation.report",
    "export": "exporters.artifact",
    "generate": "evaluation.generate",
    "load_examples": "data.examples",
    "load_model": "model.load",
    "load_recipe": "recipe_files",
    "load_run": "run_outputs",
    "on_mesh": "model.sharding",
    "plan": "planning.make",
    "run": "pipeline",
    "train": "training.train",
    "turns_as_trained": "text.as_trained",
    "with_adapter": "starting_point",
}

__all__ = [*sorted(_HOME_OF), "__version__"]

if TYPE_CHECKING:
    from .after_training import answer_table
    from .data.check import check_data
    from .data.examples import load_examples
    from .errors import (
        CheckpointError,
        DataError,
        ExportError,
        ModelError,
        OutOfMemory,
        RecipeError,
        StoppedWithCheckpoint,
        TuneError,
    )
    from .evaluation.generate import generate
    from .evaluation.report import evaluate
    from .exporters.artifact import Artifact, export
    from .model.load import load_model
    from .model.lora import Adapters
    from .model.mesh import MeshShape
    from .model.sharding import by_itself, on_mesh
    from .model.value import Model
    from .pipeline import run
    from .planning.make import plan
    from .recipe import Recipe
    from .recipe_files import load_recipe
    from .run_outputs import load_run
    from .starting_point import with_adapter
    from .text.as_trained import turns_as_trained
    from .text.turns import Turn
    from .training.loop import TrainResult
    from .training.train import train


def __getattr__(name: str) -> Any:
    """The public name, imported from the module that defines it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""How much there will be to download, told before an export is made."""

from __future__ import annotations

from gemma_keras_tune.catalogue import find
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.run_folder import RunFolder

_NUMBER_BYTES = {"float32": 4, "bfloat16": 2}
_TOKENIZER_BYTES = 20_000_000  # what the files of a Gemma tokenizer take, in every format


def export_bytes(folder: RunFolder, recipe: Recipe | None, *, dtype: str | None) -> int | None:
    """About how many bytes an export will have; None of a whole model that nobody has counted.

    Args:
        folder: The run's.
        recipe: Its recipe; None if it can't be read.
        dtype: The number format of a whole model; None of an adapter, which is as large as it is.
    """
    if dtype is None:
        learned = sum(path.stat().st_size for path in folder.adapter.iterdir() if path.is_file())
        return learned + _TOKENIZER_BYTES
    model = None if recipe is None else find(recipe.model.preset)
    return None if model is None else model.parameters * _NUMBER_BYTES[dtype] + _TOKENIZER_BYTES

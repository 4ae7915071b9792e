"""What is said of a data set: a recipe's section `data` without its paths."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue, ValidationError

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.recipe_files import listed_problems, problems, recipe_keys

_LARGEST = 64_000


def checked_settings(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The settings of a data set as they are kept.

    Raises:
        TuneError: `DATASET_SETTINGS`, with all that is wrong by dotted key.
    """
    paths = [key for key in settings if key.endswith("path")]
    if paths:
        raise TuneError(
            f"settings.{paths[0]}: a data set is its own file, so it takes no path.",
            code="DATASET_SETTINGS",
        )
    try:
        DataRecipe.model_validate({**settings, "path": "rows"})
    except ValidationError as error:
        found = problems(error, known=list(recipe_keys(DataRecipe)))
        raise TuneError(listed_problems("settings", found), code="DATASET_SETTINGS") from None
    if len(json.dumps(settings)) > _LARGEST:
        raise TuneError(
            f"The settings of a data set take at most {_LARGEST:,} letters as JSON.",
            code="DATASET_SETTINGS",
        )
    return dict(settings)

"""What a page about data looks at: a data set of the workspace, or a file that ships."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gemma_keras_tune.recipe_files import load_recipe, shipped_recipes

from ...api.datasets import DatasetChanges, change_dataset, get_dataset
from ...api.naming import shipped_data
from ...identity.access import Action
from ...identity.refusals import not_found
from ..visit import Visit

Settings = dict[str, Any]
"""Of a recipe's section `data`, without paths."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of rows.

    Attributes:
        name: What jobs and recipes call it: `dataset:ID` or `shipped:FILE`.
        title: What people call it.
        file_name: What the file was called.
        size: Bytes.
        settings: What was said of it; None: nothing yet.
        dataset_id: Its id; None of what ships.
        created_at: When it was uploaded.
        user_id: Who uploaded it.
    """

    name: str
    title: str
    file_name: str
    size: int
    settings: Settings | None
    dataset_id: str | None = None
    created_at: datetime | None = None
    user_id: str = ""


async def dataset_source(visit: Visit, dataset_id: str) -> Source:
    """A data set of the workspace.

    Raises:
        NotFound: If it has no such data set.
    """
    found = await get_dataset(visit.asked(Action.VIEW_DATA), dataset_id)
    return Source(
        name=f"dataset:{found.id}",
        title=found.name,
        file_name=found.file_name,
        size=found.size,
        settings=found.settings,
        dataset_id=found.id,
        created_at=found.created_at,
        user_id=found.user_id,
    )


def shipped_source(file_name: str) -> Source:
    """A file that ships, with the settings of the recipe that uses it.

    Raises:
        NotFound: If no such file ships.
    """
    path = shipped_data().get(file_name)
    if path is None:
        raise not_found("The example")
    return Source(
        name=f"shipped:{file_name}",
        title=file_name,
        file_name=file_name,
        size=path.stat().st_size,
        settings=shipped_settings(file_name),
    )


def shipped_settings(file_name: str) -> Settings | None:
    """What the shipped recipes say of a shipped file; None if none uses it."""
    for path in shipped_recipes().values():
        data = load_recipe(path).data
        files = (data.path, data.validation_path, data.test_path)
        if file_name in [Path(one).name for one in files if one]:
            values = data.model_dump(mode="json", exclude_defaults=True)
            return {key: value for key, value in values.items() if not key.endswith("path")}
    return None


async def keep(visit: Visit, source: Source, settings: Settings) -> None:
    """Keeps what was said of a data set.

    Raises:
        TuneError: `DATASET_SETTINGS`, or that it isn't allowed.
    """
    if source.dataset_id is not None:
        asked = await visit.asked_now(Action.CHANGE_DATA)
        await change_dataset(asked, source.dataset_id, DatasetChanges(settings=settings))

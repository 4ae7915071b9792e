"""Files by the names that requests use, such as `dataset:ID` or `model:ID`; never a path.

Whoever asks can't name a file of the server, nor an address to fetch. What the server tells them
has the same names in the place of its paths.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from gemma_keras_tune.catalogue import find
from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.recipe_files import shipped_recipes
from gemma_keras_tune.run_folder import RunFolder

from ..gate.upload_files import MODEL_SUFFIXES, final_path, suffix_for
from ..identity.refusals import NotFound
from ..store.tables import datasets, runs, uploads
from ..store.workspace import WorkspaceStore

_ID = re.compile(r"[0-9a-f]{32}")
_PRESET = re.compile(r"demo|gemma[0-9a-z_]{0,60}")
_HANDLE = re.compile(
    r"(kaggle|hf)://[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95}){1,5}"
)
_DATASET, _MODEL, _RUN, _SHIPPED = "dataset:", "model:", "run:", "shipped:"
_DATA_FILES = (".csv", ".jsonl")


class Names:
    """Turns the names of one workspace into paths.

    Args:
        rows: The workspace's rows.
        root: The data root.
    """

    def __init__(self, rows: WorkspaceStore, root: Path) -> None:
        self._rows, self._root = rows, root

    async def data(self, key: str, name: object) -> str:
        """The path of a data file.

        Raises:
            RecipeError: `NAME_INVALID`, or `NAME_UNKNOWN` if the workspace has no such data set.
        """
        kind, _, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
        if kind == "shipped" and rest in shipped_data():
            return str(shipped_data()[rest])
        if kind != "dataset" or not _ID.fullmatch(rest):
            raise _wrong(
                key,
                name,
                "name a data set as dataset:ID, with an id of GET /api/v1/datasets, or a file that "
                f"ships with the recipes as shipped:FILE ({', '.join(shipped_data())})",
            )
        try:
            row = await self._rows.one(datasets, rest, datasets.c.deleted_at.is_(None))
        except NotFound:
            raise _unknown(key, name) from None
        return str(dataset_file(self._root, row["id"], row["file_name"]))

    async def model(self, key: str, name: object) -> str:
        """What a job calls a model: its preset or handle, or the path of an uploaded one.

        Raises:
            RecipeError: As `data`.
        """
        text = name if isinstance(name, str) else ""
        if _PRESET.fullmatch(text) or _HANDLE.fullmatch(text) or find(text) is not None:
            return text
        kind, _, rest = text.partition(":")
        if kind != "model" or not _ID.fullmatch(rest):
            raise _wrong(
                key,
                name,
                "name a model as demo, as a preset such as gemma3_instruct_1b, by a kaggle:// or "
                "hf:// handle, or as model:ID with the id of an uploaded one",
            )
        is_done = (uploads.c.purpose == "model") & (uploads.c.state == "done")
        try:
            row = await self._rows.one(uploads, rest, is_done)
        except NotFound:
            raise _unknown(key, name) from None
        suffix = suffix_for("model", row["display_name"])
        path = final_path(self._root, "model", row["id"], suffix)
        return str(path if suffix == MODEL_SUFFIXES[".gguf"] else path.parent)

    async def adapter(self, key: str, name: object) -> str:
        """The folder of the adapter that a finished run made.

        Raises:
            RecipeError: As `data`; `NAME_UNKNOWN` also if the run has no adapter yet.
        """
        kind, _, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
        if kind != "run" or not rest:
            raise _wrong(key, name, "name a run as run:ID, with an id of GET /api/v1/runs")
        try:
            await self._rows.one(runs, rest, runs.c.deleted_at.is_(None))
        except NotFound:
            raise _unknown(key, name) from None
        folder = RunFolder(self._root / "runs" / rest).adapter
        if not folder.is_dir():
            raise RecipeError(f"{key}: {name} has no adapter yet.", code="NAME_UNKNOWN")
        return str(folder)


class Shown:
    """Turns the server's paths in what it tells into names.

    Args:
        root: The data root.
    """

    def __init__(self, root: Path) -> None:
        self._replaced = list(
            dict.fromkeys(_patterns(root, plain=True) + _patterns(root, plain=False))
        )

    def text(self, text: str) -> str:
        """A text, also one of JSON, without the server's paths."""
        for pattern, name in self._replaced:
            text = pattern.sub(name, text)
        return text

    def value(self, value: Any) -> Any:
        """A plain JSON value without the server's paths, its keys unchanged."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value


def dataset_file(root: Path, dataset_id: str, file_name: str) -> Path:
    """Where a data set's file lies."""
    return final_path(root, "dataset", dataset_id, suffix_for("dataset", file_name))


@cache
def shipped_data() -> dict[str, Path]:
    """The data files that ship with the recipes, by name."""
    folder = next(iter(shipped_recipes().values())).parent / "data"
    return {path.name: path for path in sorted(folder.iterdir()) if path.suffix in _DATA_FILES}


def _patterns(root: Path, *, plain: bool) -> list[tuple[re.Pattern[str], str]]:
    """What to look for, and what to put there; `plain`, or as JSON writes it."""

    def written(path: Path) -> str:
        return re.escape(str(path) if plain else json.dumps(str(path))[1:-1])

    shipped = next(iter(shipped_data().values())).parent
    found = []
    for base in dict.fromkeys((root, root.resolve())):
        at = written(base)
        found += [
            (rf"{at}/datasets/([0-9a-f]{{32}})/data\.[a-z]+", rf"{_DATASET}\1"),
            (rf"{at}/models/([0-9a-f]{{32}})(?:/model\.[a-z]+)?", rf"{_MODEL}\1"),
            (rf"{at}/runs/([\w.-]+)/adapter(?![\w./-])", rf"{_RUN}\1"),
            (rf"{at}(?:/|(?![\w.-]))", ""),
        ]
    found.append((rf"{written(shipped)}/", _SHIPPED))
    return [(re.compile(pattern), name) for pattern, name in found]


def _wrong(key: str, name: object, what: str) -> RecipeError:
    shown = repr(name if isinstance(name, str) else type(name).__name__)[:200]
    return RecipeError(f"{key}: {what}; got {shown}.", code="NAME_INVALID")


def _unknown(key: str, name: object) -> RecipeError:
    return RecipeError(f"{key}: this workspace has no {name}.", code="NAME_UNKNOWN")

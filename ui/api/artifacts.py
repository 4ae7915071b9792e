"""What a run was exported to: the list, the files with their hashes, and downloads."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any

from babel.numbers import get_decimal_symbol
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, JsonValue
from starlette.responses import FileResponse, Response, StreamingResponse
from zipstream import ZipStream

from gemma_keras_tune.durable import remove_tree
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.run_result import read_exports
from gemma_keras_tune.writing import refuse_while_written

from ..gate.downloads import attached, download, file_in
from ..identity.access import Action
from ..identity.refusals import not_found
from ..reader import reader_of
from .asking import Asking, to
from .naming import Shown
from .predictions import predictions_sheet
from .problems import PREFIX, REFUSALS
from .run_curves import curves_sheet
from .run_rows import folder_of, has_unfinished_job, run_row
from .runs import RunId

router = APIRouter(prefix=f"{PREFIX}/runs/{{run_id}}", tags=["artifacts"], responses={**REFUSALS})

Format = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["hf"])]
May = Annotated[Asking, Depends(to(Action.VIEW_ARTIFACTS))]
MayDownload = Annotated[Asking, Depends(to(Action.DOWNLOAD))]
_RUN_FILES = ("report.json", "report.md", "predictions.jsonl", "recipe.json", "lineage.json")
FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, as an attachment.",
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    },
    206: {
        "description": "A part of it, as the header Range asked.",
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    },
}

_MADE: dict[str, Any] = {
    "description": "As an attachment.",
    "content": {"application/octet-stream": {"schema": {"type": "string"}}},
}


class ArtifactFile(BaseModel):
    """One file of an artifact."""

    name: str
    """With `/` between folders."""
    size: int
    """Bytes."""
    sha256: str | None
    """As the lineage has it; null for files that were written after it."""


class ArtifactLine(BaseModel):
    """One artifact."""

    format: str
    """What to ask for it by."""
    passed: bool
    """Whether it computes what the trained model computes."""
    size: int
    """Bytes of all files."""


class ArtifactView(ArtifactLine):
    """One artifact, with all that is known of it."""

    parity: dict[str, JsonValue]
    """How it was held against the trained model."""
    base_model: str | None
    """The model that was trained, as the lineage calls it."""
    base_on_hub: str | None
    """What an adapter is loaded beside, by its name on the Hugging Face hub; null where the base
    model has none there, and of a whole model."""
    stop_ids: list[int]
    """Token ids that end an answer of an adapter; a whole model names them itself."""
    files: list[ArtifactFile]
    """Its files, by name."""


@router.get("/artifacts")
async def list_artifacts(asked: May, run_id: RunId) -> list[ArtifactLine]:
    """Lists what a run was exported to."""
    await run_row(asked.rows, run_id)
    found = await find_artifacts(asked, run_id)
    return [ArtifactLine(**one.model_dump(include={*ArtifactLine.model_fields})) for one in found]


@router.get("/artifacts/{format}")
async def get_artifact(asked: May, run_id: RunId, format: Format) -> ArtifactView:
    """Gives one artifact with its parity report and its files."""
    await run_row(asked.rows, run_id)
    return await _find(asked, run_id, format)


@router.delete("/artifacts/{format}", status_code=204)
async def delete_artifact(
    asked: Annotated[Asking, Depends(to(Action.DELETE_ARTIFACT))], run_id: RunId, format: Format
) -> None:
    """Deletes one artifact; the run can be exported again."""
    await run_row(asked.rows, run_id)
    await _find(asked, run_id, format)
    folder = folder_of(asked.root, run_id)
    async with asked.services.submitting:
        if await has_unfinished_job(asked.rows, run_id):
            raise TuneError(
                "A job works on this run or waits to. Cancel it, or wait for its end.",
                code="RUN_IN_USE",
            )
        await asyncio.to_thread(_remove, folder, format)
    await asked.note("artifact.deleted", f"{run_id}/{format}")


@router.get(
    "/artifacts/{format}/files/{name:path}", response_class=FileResponse, responses={**FILE}
)
async def download_artifact(
    asked: MayDownload, run_id: RunId, format: Format, name: str
) -> Response:
    """Downloads one file of an artifact."""
    await run_row(asked.rows, run_id)
    found = await _find(asked, run_id, format)
    folder = folder_of(asked.root, run_id).artifacts / format
    names = {file.name for file in found.files}
    path = await asyncio.to_thread(file_in, folder, name, allowed=names)
    return download(path, name=path.name)


@router.get("/artifacts/{format}/archive", response_class=StreamingResponse, responses={200: _MADE})
async def download_archive(asked: MayDownload, run_id: RunId, format: Format) -> Response:
    """Downloads a whole artifact as a zip, which unpacks into a folder of the format's name."""
    row = await run_row(asked.rows, run_id)
    found = await _find(asked, run_id, format)
    folder = folder_of(asked.root, run_id).artifacts / format
    names = [file.name for file in found.files]
    parts = await asyncio.to_thread(zip_of, folder, names)
    headers = {**attached(f"{row['name']}-{format}.zip"), "Content-Length": str(len(parts))}
    return StreamingResponse(parts, media_type="application/octet-stream", headers=headers)


@router.get("/files/{name}", response_class=StreamingResponse, responses={200: _MADE})
async def download_run_file(
    asked: MayDownload, run_id: RunId, name: Annotated[str, Path(examples=["report.md"])]
) -> Response:
    """Downloads the report, the predictions, the recipe or the lineage, with names for paths."""
    await run_row(asked.rows, run_id)
    folder = folder_of(asked.root, run_id).path
    path = await asyncio.to_thread(file_in, folder, name, allowed=_RUN_FILES)
    lines = _with_names(path, Shown(asked.root))
    return StreamingResponse(lines, media_type="application/octet-stream", headers=attached(name))


@router.get("/predictions.csv", response_class=StreamingResponse, responses={200: _MADE})
async def download_predictions(asked: MayDownload, request: Request, run_id: RunId) -> Response:
    """Downloads the measured rows as a CSV, in the way that the reader's spreadsheet expects it."""
    row = await run_row(asked.rows, run_id)
    folder = folder_of(asked.root, run_id).path
    path = await asyncio.to_thread(file_in, folder, "predictions.jsonl", allowed=_RUN_FILES)
    comma = _has_decimal_comma(request)
    lines = await asyncio.to_thread(predictions_sheet, path, decimal_comma=comma)
    headers = attached(f"{row['name']}-rows.csv")
    return StreamingResponse(lines, media_type="application/octet-stream", headers=headers)


@router.get("/curves.csv", response_class=StreamingResponse, responses={200: _MADE})
async def download_curves(asked: MayDownload, request: Request, run_id: RunId) -> Response:
    """Downloads the figures of each step as a CSV, as the reader's spreadsheet expects it."""
    row = await run_row(asked.rows, run_id)
    events, comma = folder_of(asked.root, run_id).events, _has_decimal_comma(request)
    lines = await asyncio.to_thread(curves_sheet, events, decimal_comma=comma)
    headers = attached(f"{row['name']}-curves.csv")
    return StreamingResponse(lines, media_type="application/octet-stream", headers=headers)


async def find_artifacts(asked: Asking, run_id: str) -> list[ArtifactView]:
    """All that a run of the workspace was exported to."""
    return await asyncio.to_thread(_all, folder_of(asked.root, run_id), Shown(asked.root))


def _with_names(path: FilePath, shown: Shown) -> Iterator[bytes]:
    """A text file line by line, with names in the place of the server's paths."""
    with path.open(encoding="utf-8", newline="") as file:
        for line in file:
            yield shown.text(line).encode()


def _has_decimal_comma(request: Request) -> bool:
    locale = reader_of(request.headers, request.cookies).locale
    return get_decimal_symbol(locale) == ","


def zip_of(folder: FilePath, names: Sequence[str]) -> ZipStream:
    """An archive without compression that is made while it is sent; its `len` is its size in bytes.

    Sending it ends with RuntimeError if a file has another size by then.

    Args:
        folder: Where the files are; they are unpacked into one of the same name.
        names: Relative to it, made by us.

    Raises:
        Refused: `NOT_FOUND` (404), if one isn't a regular file in the folder.
    """
    archive = ZipStream(sized=True)
    for name in names:
        archive.add_path(file_in(folder, name, allowed=names), f"{folder.name}/{name}")
    return archive


async def _find(asked: Asking, run_id: str, format: str) -> ArtifactView:
    for one in await find_artifacts(asked, run_id):
        if one.format == format:
            return one
    raise not_found("The artifact")


def _all(folder: RunFolder, shown: Shown) -> list[ArtifactView]:
    found = []
    for path, parity in read_exports(folder):
        lineage = _lineage(path)
        files = _files(path, hashes=_part(lineage, "artifact", "files"))
        found.append(
            ArtifactView(
                format=path.name,
                passed=parity.get("passed") is True,
                size=sum(file.size for file in files),
                parity=shown.value(parity),
                base_model=_text(_part(lineage, "base").get("name")),
                base_on_hub=_text(_part(lineage, "artifact").get("base_on_hub")),
                stop_ids=_ids(_part(lineage, "artifact").get("stop_ids")),
                files=files,
            )
        )
    return found


def _files(folder: FilePath, *, hashes: Mapping[str, Any]) -> list[ArtifactFile]:
    """The regular files of an artifact; links are left out."""
    found = []
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = FilePath(at, name)
            if path.is_symlink() or not path.is_file() or name.startswith("."):
                continue
            relative = path.relative_to(folder).as_posix()
            size, sha256 = path.stat().st_size, _text(hashes.get(relative))
            found.append(ArtifactFile(name=relative, size=size, sha256=sha256))
    return found


def _lineage(folder: FilePath) -> Mapping[str, Any]:
    """What the artifact's lineage says; nothing if it can't be read."""
    try:
        found = json.loads((folder / "lineage.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(values: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A part of a JSON object, empty where there is none of that name."""
    for name in names:
        found = values.get(name)
        values = found if isinstance(found, dict) else {}
    return values


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _ids(value: object) -> list[int]:
    return [one for one in value if isinstance(one, int)] if isinstance(value, list) else []


def _remove(folder: RunFolder, format: str) -> None:
    refuse_while_written(folder)
    remove_tree(folder.artifacts / format, trash=folder.artifacts / ".trash")

"""`export`: a model as files for other tools, published only after their consumer agreed."""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..durable import FULL_DISK, atomic_write_json, new_folder, sha256_file
from ..errors import ExportError
from ..event_types import Event, Note, Progress
from ..lineage import collect_lineage
from ..model.value import Model
from ..model.weights import parameter_count
from ..out_of_memory import told_of_memory
from ..recipe import ExportRecipe
from .card import model_card
from .consumer import Job, compute_dtype, need_consumer
from .gate import Parity, check_artifact
from .hf import write_hf
from .peft import hub_name, write_peft

OnEvent = Callable[[Event], None]

_ITEM_BYTES = {"float32": 4, "bfloat16": 2}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_TOKENIZER_BYTES = 60 << 20
_PROMPT_ROWS = 128  # positions whose logits the gate keeps, about


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A published artifact.

    Attributes:
        path: Its folder.
        format: `hf` or `peft`.
        parity: What is in its `parity.json`.
    """

    path: Path
    format: str
    parity: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What a writer needs: see `export`."""

    model: Model
    recipe: ExportRecipe
    folder: Path
    scratch: Path
    on_event: OnEvent | None


@told_of_memory("export")
def export(
    model: Model,
    format: str,
    out_dir: str | Path,
    *,
    recipe: ExportRecipe | None = None,
    base: Model | None = None,
    report: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
) -> Artifact:
    """The artifact at `<out_dir>/<format>`, checked against `model` before it got that name.

    It is written into a temporary folder beside its place and reloaded there by a fresh process
    with its real consumer. If that computes something else, the folder is removed and what was
    at its place before stays.

    Args:
        model: With live adapters, or without.
        format: `hf`: a Hugging Face folder, adapters merged. `peft`: the adapter alone.
        out_dir: Made if it is missing.
        recipe: Type and file size of the weights; float32 and 2 GB by default.
        base: The model before training, where `model` has no adapters that can be taken away.
        report: `report.json`'s content, for the card.
        lineage: `lineage.json`'s content; a short one is made without it.
        on_event: Told the progress, in bytes.

    Raises:
        ExportError: If the format is unknown or can't express the model, the disk is full, or the
            artifact did not compute what the model computes; the text has the numbers.
        MissingExtraError: If a library of the extra `export` isn't installed.
        OutOfMemory: If there isn't enough memory for it.
    """
    if format not in _WRITERS:
        raise ExportError(
            f"There is no export format {format!r}. Choose one of: {', '.join(_WRITERS)}.",
            code="EXPORT_FORMAT",
        )
    chosen = {} if recipe is None else recipe.model_dump(mode="json")
    recipe = ExportRecipe.model_validate({**chosen, "format": format})
    target = Path(out_dir) / format
    refuse_stranger(target)
    with _plain_disk_errors(target):
        _preflight(model, recipe, target.parent)
        with new_folder(target, replace=True) as folder:
            parity = _write_and_check(model, recipe, folder, base=base, on_event=on_event)
            _describe(folder, model, recipe, parity, report=report, lineage=lineage)
    return Artifact(path=target, format=format, parity=parity.to_json())


def refuse_stranger(target: Path) -> None:
    """Refuse to replace a folder that no export made.

    Args:
        target: Where an artifact is to be published.

    Raises:
        ExportError: `EXPORT_EXISTS`.
    """
    if target.exists() and not (target / "parity.json").is_file():
        raise ExportError(
            f"{target} is there already and is no export, so it is not replaced. "
            "Name another folder.",
            code="EXPORT_EXISTS",
        )


def _write_and_check(
    model: Model,
    recipe: ExportRecipe,
    folder: Path,
    *,
    base: Model | None,
    on_event: OnEvent | None,
) -> Parity:
    with _scratch(folder.parent) as scratch:
        work = _Work(model=model, recipe=recipe, folder=folder, scratch=scratch, on_event=on_event)
        job = _WRITERS[recipe.format](work)
        if on_event is not None:
            message = f"Checking the {recipe.format} artifact in a fresh process."
            on_event(Note(message=message))
        return _gate(job, work, base=base)


def _write_hf(work: _Work) -> Job:
    write_hf(work.folder, work.model, work.recipe, on_bytes=_progress(work.on_event))
    dtype = compute_dtype(work.model, work.recipe.dtype)
    return Job(kind="hf", folder=work.folder, compute_dtype=dtype)


def _write_peft(work: _Work) -> Job:
    write_peft(work.folder, work.model)
    base = work.scratch / "base"
    base.mkdir()
    dtype = _model_dtype(work.model)
    plain = work.model.replace(adapters=None)
    recipe = ExportRecipe.model_validate({"format": "hf", "dtype": dtype})
    write_hf(base, plain, recipe, on_bytes=_progress(work.on_event))
    return Job(
        kind="peft", folder=work.folder, base=base, compute_dtype=compute_dtype(plain, dtype)
    )


_WRITERS: dict[str, Callable[[_Work], Job]] = {"hf": _write_hf, "peft": _write_peft}


def _gate(job: Job, work: _Work, *, base: Model | None) -> Parity:
    answers = work.scratch / "answers"
    answers.mkdir()
    dtype = work.recipe.dtype if job.kind == "hf" else "float32"  # an adapter is never rounded
    parity = check_artifact(job, work.model, dtype=dtype, base=base, work_dir=answers)
    if not parity.passed:
        numbers = {
            key: value
            for key, value in parity.to_json().items()
            if isinstance(value, bool | float) and key != "passed"
        }
        raise ExportError(
            f"The {job.kind} artifact does not compute what the model computes, so it is not "
            f"published: {'; '.join(parity.problems)}. Measured: {json.dumps(numbers)}. Reloaded "
            f"with {', '.join(f'{k} {v}' for k, v in parity.versions.items())}.",
            code="EXPORT_PARITY",
        )
    return parity


def _describe(
    folder: Path,
    model: Model,
    recipe: ExportRecipe,
    parity: Parity,
    *,
    report: Mapping[str, Any] | None,
    lineage: Mapping[str, Any] | None,
) -> None:
    """Writes parity.json, lineage.json and the card."""
    if lineage is None:
        lineage = collect_lineage(
            base=asdict(model.source), tokenizer_sha256=model.tokenizer.sha256
        )
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    written: dict[str, Any] = {"format": recipe.format, "dtype": recipe.dtype, "files": files}
    if recipe.format == "peft":
        stops = sorted(model.template.stop_ids)
        written |= {"dtype": "float32", "base_on_hub": hub_name(model.source), "stop_ids": stops}
    lineage = {**lineage, "artifact": written}
    atomic_write_json(folder / "parity.json", parity.to_json())
    atomic_write_json(folder / "lineage.json", lineage)
    card = model_card(model, recipe.format, parity, report=report, lineage=lineage)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _preflight(model: Model, recipe: ExportRecipe, out_dir: Path) -> None:
    """Refuse before the first byte what could only fail after minutes.

    Raises:
        ExportError: If the disk has too little room.
        MissingExtraError: If a library isn't installed.
    """
    need_consumer(recipe.format)
    dtype = recipe.dtype if recipe.format == "hf" else _model_dtype(model)
    answers = 3 * 4 * _PROMPT_ROWS * model.config.vocab_size
    needed = parameter_count(model.config) * _ITEM_BYTES[dtype] + answers + _TOKENIZER_BYTES
    out_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out_dir).free
    if free < needed:
        raise ExportError(
            f"The export needs {needed / 1e9:.1f} GB on the disk of {out_dir}, which has "
            f"{free / 1e9:.1f} GB left. Free some, choose another folder, or export as bfloat16.",
            code="NEEDS_SPACE",
        )


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder on the artifact's disk, where the room was looked for; removed at the end."""
    folder = parent / f".gate.{secrets.token_hex(4)}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _plain_disk_errors(target: Path) -> Iterator[None]:
    """Turns what the disk refuses into an error that says what to do; other errors stay."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL_DISK
        if not full and error.errno not in _NOT_WRITABLE:
            raise
        advice = "Free some space" if full else "Choose another folder"
        raise ExportError(
            f"The artifact {target} can't be written: {error}. {advice}; nothing of it was kept.",
            code="NEEDS_SPACE" if full else "EXPORT_NOT_WRITABLE",
        ) from error


def _model_dtype(model: Model) -> str:
    return str(model.dtype)


def _progress(on_event: OnEvent | None) -> Callable[[int, int], None] | None:
    if on_event is None:
        return None
    return lambda done, total: on_event(Progress(stage="export", done=done, total=total))

"""Going on from an adapter that was trained before, instead of from a fresh one."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .durable import new_folder, sha256_file
from .errors import ModelError, TuneError
from .model.adapter_settings import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_settings
from .model.value import Model
from .recipe import Recipe
from .run_folder import RunFolder, data_root, find_run, resume_command

if TYPE_CHECKING:
    from .model.lora import Adapters


def with_adapters_settings(recipe: Recipe, *, kept: Path | None = None) -> Recipe:
    """The recipe with `model.lora` as the adapter has it that `model.adapter` names.

    Rank, strength, targets and scaling belong to the adapter's matrices; dropout and seed stay the
    recipe's own. The name becomes the adapter's folder: `latest` is another run as soon as this one
    has begun. A recipe without `model.adapter` comes back as it is.

    Args:
        recipe: The recipe.
        kept: Where the run may have its own copy, whose settings count more than the original's.
            If that is gone, the name stays as it is.

    Raises:
        ModelError: `ADAPTER_NOT_FOUND`, or if the adapter's settings can't be read.
    """
    name, own = recipe.model.adapter, recipe.model.lora
    if name is None:
        return recipe
    stored = read_settings(_starting_folder(name, kept))
    lora = stored.model_copy(update={"dropout": own.dropout, "seed": own.seed})
    with suppress(ModelError):  # a run that has its own copy needs no other
        name = str(adapter_folder(name))
    changes = {"adapter": name, "lora": lora}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})


def start_from_adapter(recipe: Recipe, base: Model, *, kept: Path | None = None) -> Model:
    """The base model with the adapter beside it that the recipe starts from, or as it is.

    Args:
        recipe: The recipe.
        base: The model.
        kept: Where the run's own copy is, or is put: the run can be resumed when the original is
            gone. None keeps none.

    Raises:
        ModelError: `ADAPTER_NOT_FOUND`; `ADAPTER_OTHER_BASE` if a run trained it on other weights;
            or if it can't be read or doesn't fit.
    """
    if recipe.model.adapter is None:
        return base
    folder = _starting_folder(recipe.model.adapter, kept)
    adapters = replace(_adapters_for(base, folder), config=recipe.model.lora)
    if kept is not None and folder != kept:
        with new_folder(kept, replace=True) as copy:
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                shutil.copyfile(folder / name, copy / name)
    return base.replace(adapters=adapters, lora=recipe.model.lora)


def with_adapter(model: Model, name: str | Path) -> Model:
    """The model with an adapter beside its weights; any others that it had are left out.

    The weights are shared, not copied, so that many adapters of one base cost little memory:

        spam, chat = with_adapter(base, "spam-run"), with_adapter(base, "chat-run")

    Args:
        model: The base model, or one with other adapters.
        name: A finished run (its id, the start of it, its name, its folder), or a folder that
            PEFT wrote.

    Raises:
        ModelError: `ADAPTER_NOT_FOUND`; `ADAPTER_OTHER_BASE` if a run trained it beside other
            weights; or if it can't be read or doesn't fit.
    """
    return model.replace(adapters=_adapters_for(model, adapter_folder(str(name))))


def adapter_sha256(recipe: Recipe, *, kept: Path | None = None) -> str:
    """The SHA-256 of the adapter's weights that a recipe starts from; `""` without one.

    Args:
        recipe: The recipe.
        kept: Where the run may have its own copy.
    """
    if recipe.model.adapter is None:
        return ""
    return sha256_file(_starting_folder(recipe.model.adapter, kept) / ADAPTER_WEIGHTS)


def adapter_folder(name: str) -> Path:
    """The folder of an adapter: of a run that is named as everywhere, or one that PEFT wrote.

    Raises:
        ModelError: `ADAPTER_NOT_FOUND`.
        TuneError: `RUN_AMBIGUOUS`.
    """
    given = Path(name).expanduser()
    if _is_adapter(given):
        return given.resolve()
    try:
        run = find_run(data_root(), name)
    except TuneError as error:
        if error.code == "RUN_AMBIGUOUS":
            raise
        raise ModelError(
            f"The adapter {name!r} is neither a run nor a folder with {ADAPTER_CONFIG}. {error}",
            code="ADAPTER_NOT_FOUND",
        ) from error
    if not _is_adapter(run.adapter):
        raise ModelError(
            f"The adapter {name!r} is not there yet: the training of that run hasn't finished. "
            f"Finish it with: {resume_command(run)}",
            code="ADAPTER_NOT_FOUND",
        )
    return run.adapter.resolve()


def _is_adapter(folder: Path | None) -> bool:
    return folder is not None and (folder / ADAPTER_CONFIG).is_file()


def _starting_folder(name: str, kept: Path | None) -> Path:
    return kept if kept is not None and _is_adapter(kept) else adapter_folder(name)


def _adapters_for(base: Model, folder: Path) -> Adapters:
    from .model.lora import load_adapter  # here, so that settings can be read without JAX

    _refuse_other_base(folder, base)
    return load_adapter(folder, base.config)


def _refuse_other_base(folder: Path, base: Model) -> None:
    """An adapter of a run belongs to the very weights that it was trained beside."""
    lineage = RunFolder(folder.parent).lineage_json
    if not lineage.is_file():  # no run's, so nobody says what it was trained beside
        return
    try:
        trained_on = json.loads(lineage.read_text("utf-8"))["base"]
        name, sha256 = str(trained_on["name"]), str(trained_on["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{lineage} can't be read ({error!r}), so nobody can say which weights the adapter "
            "belongs to. Restore it from a copy, or name a copy of the folder `adapter` alone.",
            code="ADAPTER_FILE",
        ) from error
    if sha256 and sha256 != base.source.sha256:
        raise ModelError(
            f"The adapter was trained beside the model {name!r}, whose weights are others than "
            f"those of {base.source.name!r}. Take that model (model.preset), or no adapter "
            "(model.adapter).",
            code="ADAPTER_OTHER_BASE",
        )

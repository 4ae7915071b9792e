"""What a checkpoint says besides its arrays: where the run stands, and which run it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax
from jax.sharding import Mesh

from .. import peers
from ..data.tokenize import TokenSet
from ..errors import CheckpointError, TuneError
from ..model.lora import Adapters
from ..model.mesh import DATA
from ..model.value import Model
from ..recipe import SAME_RESULT, TrainRecipe
from .changes import Changes, from_json
from .plan import TrainPlan

_FREE = {
    *(key.removeprefix("train.") for key in SAME_RESULT if key.startswith("train.")),
    *("checkpoint_every_steps", "checkpoint_every_s", "keep_checkpoints"),
    *("sample_prompts", "sample_every_steps", "sample_max_tokens", "label_rows"),
}
_BIT_RELEVANT = ("jax", "jaxlib", "optax", "numpy")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands besides its arrays.

    Attributes:
        step: Optimizer steps done.
        measured_step: The last step after which the validation loss was measured.
        best_step: Step of the lowest validation loss so far, 0 for none.
        best_loss: That loss, in nats per answer token, or None.
        without_gain: Measurements since then.
        sampled_step: The last step after which the recipe's prompts were asked.
        bad_steps: Steps in a row, up to this one, that were skipped for not being a number.
    """

    step: int = 0
    measured_step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    without_gain: int = 0
    sampled_step: int = 0
    bad_steps: int = 0

    def after(self, loss: float) -> Standing:
        """The standing after a measurement at this step."""
        measured = dataclasses.replace(self, measured_step=self.step)
        if self.best_loss is None or loss < self.best_loss:
            return dataclasses.replace(
                measured, best_step=self.step, best_loss=loss, without_gain=0
            )
        return dataclasses.replace(measured, without_gain=self.without_gain + 1)


def to_meta(standing: Standing, changes: Changes, identity: Mapping[str, str]) -> dict[str, Any]:
    """Plain values for a checkpoint; `from_meta` reads them back."""
    return {
        "standing": dataclasses.asdict(standing),
        "changes": changes.to_json(),
        "identity": dict(identity),
        "versions": versions(),
    }


def from_meta(meta: Mapping[str, Any], identity: Mapping[str, str]) -> tuple[Standing, Changes]:
    """The standing that a checkpoint of this very run holds, and what was changed until then.

    Raises:
        CheckpointError: `CKPT_OTHER_RUN` if it was made with other settings, data or weights.
    """
    saved = meta["identity"]
    changed = [name for name, digest in identity.items() if saved.get(name) != digest]
    if changed:
        raise CheckpointError(
            f"The checkpoint belongs to a run with another {', '.join(changed)}, so going on from "
            "it would give neither run's result. Resume with the recipe and the files that the "
            "run was started with, or start a new run.",
            code="CKPT_OTHER_RUN",
        )
    return Standing(**meta["standing"]), from_json(meta.get("changes", ()))


def version_changes(meta: Mapping[str, Any]) -> list[str]:
    """Packages that have changed since the checkpoint, such as `jax 0.10.2 -> 0.11.0`."""
    now = versions()
    return [
        f"{name} {before} -> {now.get(name)}"
        for name, before in meta["versions"].items()
        if before != now.get(name)
    ]


def versions() -> dict[str, str]:
    """Versions of the packages, and the devices: what a run's exact bits depend on."""
    found = {name: metadata.version(name) for name in _BIT_RELEVANT}
    return found | {"device": jax.devices()[0].device_kind, "devices": str(jax.device_count())}


def identity_of(model: Model, plan: TrainPlan, validation: TokenSet | None) -> dict[str, str]:
    """Digests of all that decides a run's result, by what a person calls it."""
    adapters = model.adapters
    start = _digest_of_arrays(adapters) if adapters else model.lora.model_dump_json()
    return {
        "train section": _digest(_decisive(plan.recipe), plan.length, plan.rows_of_step),
        "training data": _digest_of_tokens(plan.tokens),
        "validation data": _digest_of_tokens(validation) if validation else "",
        "base model": _digest(model.source.sha256, model.config.to_json(), str(model.dtype)),
        "adapter": _digest(start),
    }


def check_same_run(identity: Mapping[str, str], plan: TrainPlan, mesh: Mesh | None) -> None:
    """Makes sure that all processes are about to train the same, in the same way.

    Raises:
        TuneError: `PEERS_DIFFER` if one has other settings, data, weights or versions than the
            leader.
    """
    if peers.is_alone():
        return
    groups = 1 if mesh is None else mesh.shape[DATA]
    how = plan.recipe.model_dump(mode="json", include=_FREE)
    mine = dict(identity) | {
        "mesh": "" if mesh is None else str(dict(mesh.shape)),
        "way to compute": _digest(how, plan.dealt(groups)),
        "versions": _digest(versions(), metadata.version("gemma-keras-tune")),
    }
    led = peers.agreed(mine)
    wrong = [name for name, digest in mine.items() if led.get(name) != digest]
    if not any(peers.in_all(len(wrong))):
        return
    what = f"Here, the {', '.join(wrong)} differ" if wrong else "Elsewhere something differs"
    raise TuneError(
        f"The processes of this run don't train the same. {what} from what process 0 has. Give all "
        "the same recipe, the same files and the same version of this library.",
        code="PEERS_DIFFER",
    )


def _decisive(recipe: TrainRecipe) -> dict[str, Any]:
    """The settings that change the result; how often checkpoints are made, what is watched, or how
    many rows pass at once doesn't."""
    return recipe.model_dump(mode="json", exclude=_FREE)


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _digest_of_tokens(tokens: TokenSet) -> str:
    digest = hashlib.sha256()
    for array in (tokens.ids, tokens.supervised, tokens.offsets):
        digest.update(array.data)
    return digest.hexdigest()


def _digest_of_arrays(adapters: Adapters) -> str:
    digest = hashlib.sha256(adapters.config.model_dump_json().encode())
    for leaf in jax.tree.leaves(adapters):
        digest.update(jax.device_get(leaf).tobytes())
    return digest.hexdigest()

"""The compiler's word: the real functions of a run, lowered on shapes, without any weights."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..durable import atomic_write_json
from ..lineage import package_versions
from ..run_folder import data_root
from .estimate import Setting, scored_shape
from .values import CompilerCheck, Program

_PACKAGE = Path(__file__).parents[1]
_COMPILED = (  # what the compiled functions are written in
    *("model/*.py", "training/loss.py", "training/optimizer.py", "training/step.py"),
    "evaluation/score.py",
)
_DECISIVE = ("jax", "jaxlib", "optax", "numpy")  # whose version can change a compiled program


def check_by_compiler(setting: Setting) -> CompilerCheck:
    """What XLA reserves for the step, the validation and the scoring on the devices at hand.

    An answer is kept under the data root, by the hash of all that decides it: sizes of the model,
    the settings that the compiled functions use, versions, and the kind of device.

    Args:
        setting: What is planned; its platform must be that of JAX.
    """
    import jax

    device = jax.local_devices()[0].device_kind
    device = f"{jax.default_backend()} ({device})"
    path = _place(setting, device)
    with suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(path.read_text("utf-8"))
        programs = {name: Program(**values) for name, values in stored["programs"].items()}
        return CompilerCheck(
            device=device, programs=programs, seconds=stored["seconds"], cached=True
        )
    began = time.perf_counter()
    programs = {name: _reserved(lowered) for name, lowered in _lowered(setting).items()}
    seconds = time.perf_counter() - began
    with suppress(OSError):  # a folder that can't be written forgets
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = {name: asdict(program) for name, program in programs.items()}
        atomic_write_json(path, {"device": device, "seconds": seconds, "programs": plain})
    return CompilerCheck(device=device, programs=programs, seconds=seconds, cached=False)


def shapes_of(setting: Setting) -> tuple[Any, Any, Any]:
    """`(state, weights, batches)` of a step as shapes: what `training.step` is lowered on."""
    import jax
    import jax.numpy as jnp

    from ..model.lora import adapter_shapes
    from ..model.weights import weight_shapes
    from ..training.step import initial_state

    recipe = setting.recipe
    adapters = adapter_shapes(setting.config, recipe.model.lora)
    state = jax.eval_shape(lambda adapters: initial_state(adapters, recipe.train), adapters)
    dtype = jnp.dtype(setting.dtype)
    weights = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, dtype),
        weight_shapes(setting.config),
        is_leaf=lambda node: isinstance(node, tuple),
    )
    return state, weights, _batch(setting.micro_batches, setting.rows, setting.length)


def _batch(*shape: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    names = ("token_ids", "targets", "positions", "segment_ids")
    ints = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name in names}
    return ints | {"loss_mask": jax.ShapeDtypeStruct(shape, jnp.float32)}


def _lowered(setting: Setting) -> dict[str, Any]:
    """The functions of a run, lowered."""
    import jax
    import jax.numpy as jnp

    # the very functions that training and evaluation call
    from ..evaluation.score import _log_probabilities
    from ..training.step import _loss_sums, _settings, _train_step

    recipe, config = setting.recipe, setting.config
    state, weights, batches = shapes_of(setting)
    one = _batch(setting.rows, setting.length)
    grid, more = _scored(setting)
    return {
        "training": _train_step.lower(
            state,
            weights,
            batches,
            jax.ShapeDtypeStruct((), jnp.uint32),
            config=config,
            recipe=_settings(recipe.train),
        ),
        "validation": _loss_sums.lower(
            state.adapters,
            weights,
            one,
            config=config,
            chunk=recipe.train.loss_chunk,
            attention=recipe.train.attention,
        ),
        "evaluation": _log_probabilities.lower(config, weights, state.adapters, grid, more),
    }


def _scored(setting: Setting) -> tuple[Any, Any]:
    """The arrays that a batch of held-back rows is scored from, as shapes."""
    import jax
    import jax.numpy as jnp

    rows, length = scored_shape(setting)
    ints = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    mask = jax.ShapeDtypeStruct((rows, length), jnp.float32)
    flat = jax.ShapeDtypeStruct((rows * length,), jnp.int32)
    branched = setting.recipe.data.task == "classification"
    return (ints, ints, ints, ints, mask), (ints, flat, flat) if branched else None


def _reserved(lowered: Any) -> Program:
    found = lowered.compile().memory_analysis()
    return Program(
        argument_bytes=int(found.argument_size_in_bytes),
        output_bytes=int(found.output_size_in_bytes),
        alias_bytes=int(found.alias_size_in_bytes),
        temp_bytes=int(found.temp_size_in_bytes),
    )


def _place(setting: Setting, device: str) -> Path:
    """The file of the answer to this question."""
    recipe = setting.recipe
    train = recipe.train
    question = {
        "config": setting.config.to_json(),
        "lora": recipe.model.lora.model_dump(mode="json", exclude={"seed", "alpha"}),
        "train": train.model_dump(mode="json", include={"loss_chunk", "remat", "attention"}),
        "clipped": train.max_grad_norm > 0,
        "shape": [setting.micro_batches, setting.rows, setting.length, *scored_shape(setting)],
        "task": recipe.data.task == "classification",
        "dtype": setting.dtype,
        "device": device,
        "code": _code_sha256(),
        "versions": {n: v for n, v in package_versions().items() if n in _DECISIVE},
    }
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    return data_root() / "cache" / "plans" / f"compiled-{digest[:32]}.json"


def _code_sha256() -> str:
    digest = hashlib.sha256()
    for pattern in _COMPILED:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()

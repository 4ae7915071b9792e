"""`plan`: what a run will take, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..model.paths import attention_path, check_attention, check_remat
from ..model.weights import parameter_count
from ..recipe import ModelRecipe, Recipe
from ..run_folder import data_root
from ..starting_point import with_adapters_settings
from ..text.template import Template
from . import history
from .batch import judge, smaller, suggest
from .devices import as_planned
from .estimate import Setting, device_stages, machine_stages, setting_of
from .fetch import fetch_first
from .few_steps import few_steps
from .known_models import is_local, model_config
from .room import Platform, device_room, likely_platform, machine_room
from .speed import measuring_time, time_by_operations
from .steps import Counted, count_steps
from .values import CompilerCheck, Memory, PastPlans, Plan, Program, Room, StepTime, Verdict

_WORST = ("fits", "tight", "too_big")


def plan(
    recipe: Recipe,
    *,
    compile: bool = False,
    probe: bool = False,
    count: bool = True,
    template: Template | None = None,
) -> Plan:
    """What a run of the recipe will take: memory by name, steps, time, and whether it fits.

    Nothing is trained and no weight is read. Without `compile` and `probe` no JAX is loaded, but to
    see whether there is a device that products could be offloaded from; with `count=False` the
    data isn't read either, nobody looks for what must be fetched, and the answer is there in
    milliseconds.

    Args:
        recipe: What is to be run.
        compile: Also ask the compiler: the real functions are lowered on shapes and compiled for
            the devices at hand. Seconds the first time; the answer is kept.
        probe: Measure a step: a few micro-batches with made-up weights of the same shapes. Takes
            as much memory as training, so nothing is measured where the run can't fit.
        count: Read and tokenise the data to count the steps.
        template: The model's, if it is known already; otherwise its tokenizer is read.

    Raises:
        ModelError: If the model isn't known or can't be read; `PLAN_MODEL_NOT_HERE` if only a
            download could tell.
        DataError: If the data can't be used.
        RecipeError: If the recipe asks for what its task or this machine doesn't do.
        MissingExtraError: If the model needs a package that isn't installed.
    """
    recipe = with_adapters_settings(recipe)
    config = model_config(recipe.model)
    notes: list[str] = []
    if compile or probe or recipe.train.remat == "offload":
        import jax  # noqa: F401 - from here on the platform is what JAX says, not a guess
    platform = likely_platform()
    check_remat(recipe.train.remat, platform)
    recipe = as_planned(recipe, config, platform)
    setting = setting_of(recipe, config, platform)
    check_attention(
        config,
        platform=platform,
        dtype=setting.dtype,
        asked=recipe.train.attention,
        cuts=recipe.mesh.model or 1,
    )
    counted = _counted(setting, template, notes) if count else None
    steps = counted.steps if counted else None
    setting = setting_of(recipe, config, setting.platform, steps)
    entries = history.past_plans(data_root(), history.machine_key(setting.platform))
    past = history.summary(entries)
    check = _compiled(setting) if compile else None
    machine = _Machine(setting.platform, past, by_compiler=compile)
    memories = machine.memories(setting, check.programs if check else None)
    verdict = machine.verdict(memories, setting)
    step_time = None
    if probe and verdict.status != "too_big":
        from .probe import probe_step

        step_time = probe_step(setting)
    elif probe:
        notes.append("Nothing was measured, since the run can't fit.")
    step_time = step_time or _expected_time(setting, entries)
    measuring = measuring_time(setting, steps, step_time) if steps and step_time else None
    return Plan(
        recipe=recipe.name,
        model=_model(setting),
        device=_device(setting, check),
        batch=_batch(setting),
        memories=memories,
        verdict=verdict,
        fetch=fetch_first(recipe.model.preset, parameter_count(config)) if count else None,
        suggestion=suggest(setting, memories[-1].room, needed=machine.needed),
        steps=steps,
        few_steps=few_steps(setting, steps) if steps else None,
        step_time=step_time,
        measuring_seconds=measuring,
        compiler=check,
        past=past,
        findings=counted.findings if counted else (),
        notes=(*notes, *_notes(setting, check, past)),
    )


def less_memory(recipe: Recipe) -> tuple[tuple[str, int], ...]:
    """Settings with which a run of the recipe takes less: `(setting, peak in bytes)`.

    Args:
        recipe: With the settings of the adapter that it starts from.
    """
    platform, config = likely_platform(), model_config(recipe.model)
    setting = setting_of(as_planned(recipe, config, platform), config, platform)
    past = history.summary(history.past_plans(data_root(), history.machine_key(platform)))
    machine = _Machine(platform, past, by_compiler=False)
    return smaller(setting, needed=machine.needed)


@dataclass(frozen=True)
class _Machine:
    """What settings take here."""

    platform: Platform
    past: PastPlans
    by_compiler: bool

    def memories(
        self, setting: Setting, programs: Mapping[str, Program] | None
    ) -> tuple[Memory, ...]:
        """The machine's memory and, on an accelerator, the device's."""
        stages = machine_stages(setting, programs)
        if self.platform == "cpu":
            return (Memory(room=machine_room(), stages=stages, correction=self.past.correction),)
        device = device_room(self.platform)
        return (
            Memory(room=machine_room(), stages=stages),
            Memory(
                room=device,
                stages=device_stages(setting, programs),
                correction=self.past.correction,
            ),
        )

    def needed(self, setting: Setting) -> int:
        """The bytes that another setting takes of the memory that counts."""
        programs = _compiled(setting).programs if self.by_compiler else None
        stages = machine_stages if self.platform == "cpu" else device_stages
        room = Room(where="machine", free_bytes=None, total_bytes=None, source="")
        found = Memory(room=room, stages=stages(setting, programs), correction=self.past.correction)
        return found.needed_bytes

    def verdict(self, memories: tuple[Memory, ...], setting: Setting) -> Verdict:
        """The worst of the memories' verdicts."""
        found = [judge(memory, setting, needed=self.needed) for memory in memories]
        return max(reversed(found), key=lambda verdict: _WORST.index(verdict.status))


def _compiled(setting: Setting) -> CompilerCheck:
    from .compiler import check_by_compiler

    return check_by_compiler(setting)


def _counted(setting: Setting, template: Template | None, notes: list[str]) -> Counted | None:
    """The steps and what the data is like, where the tokenizer is here."""
    template = template or _template(setting.recipe.model)
    if template is None:
        notes.append(
            f"The tokenizer of {setting.recipe.model.preset} isn't here, so steps were not counted."
        )
        return None
    return count_steps(setting.recipe, template, rows_of_step=setting.rows * setting.micro_batches)


def _template(recipe: ModelRecipe) -> Template | None:
    if not is_local(recipe.preset):
        return None
    from ..model.load import describe_model

    return describe_model(recipe).template


def _expected_time(setting: Setting, entries: list[history.PastPlan]) -> StepTime | None:
    """By past runs, or by operations; the data must have been counted for that."""
    tokens = setting.micro_batches * setting.rows * setting.length
    model = model_key(setting)
    found = history.time_by_past_runs(entries, model=model, tokens_of_step=tokens)
    if found is None and setting.answer_share is not None:
        found = time_by_operations(setting)
    return found


def model_key(setting: Setting) -> str:
    """What past runs of the same model are found by."""
    config, recipe = setting.config, setting.recipe
    sizes = f"{config.family} {config.layers} x {config.width} x {config.hidden_dim}"
    return f"{sizes} x {config.vocab_size}, {setting.dtype}, remat {recipe.train.remat}"


def _model(setting: Setting) -> dict[str, object]:
    config = setting.config
    return {
        "preset": setting.recipe.model.preset,
        "parameters": parameter_count(config),
        "dtype": setting.dtype,
        "layers": config.layers,
        "width": config.width,
        "vocab_size": config.vocab_size,
    }


def _device(setting: Setting, check: CompilerCheck | None) -> dict[str, object]:
    if check is not None:
        return {"platform": setting.platform, "name": check.device, "source": "JAX"}
    words = "what is installed and plugged in; JAX was not asked"
    return {"platform": setting.platform, "name": setting.platform, "source": words}


def _batch(setting: Setting) -> dict[str, int]:
    train = setting.recipe.train
    return {
        "length": setting.length,
        "rows": setting.rows,
        "micro_batches": setting.micro_batches,
        "tokens_at_once": setting.rows * setting.length,
        "tokens_of_step": setting.rows * setting.length * setting.micro_batches,
        "batch_tokens": train.batch_tokens,
        "micro_batch_tokens": train.micro_batch_tokens,
    }


def _notes(setting: Setting, check: CompilerCheck | None, past: PastPlans) -> list[str]:
    notes = []
    if check is None:
        notes.append("By a formula; --compile asks the compiler for the devices at hand.")
    if setting.platform != "cpu":
        notes.append(
            "The formula was measured on processors only: on an accelerator trust --compile more."
        )
        notes.append(_attention(setting))
    if past.count < history.FEWEST:
        notes.append("Too few past runs on this machine to correct the formula by.")
    if setting.recipe.data.max_length > setting.recipe.train.micro_batch_tokens:
        notes.append(
            f"A row of {setting.length} tokens is the least that can pass at once, more than "
            f"train.micro_batch_tokens = {setting.recipe.train.micro_batch_tokens}."
        )
    return notes


def _attention(setting: Setting) -> str:
    path = attention_path(
        setting.config,
        length=setting.length,
        platform=setting.platform,
        dtype=setting.dtype,
        asked=setting.recipe.train.attention,
        cuts=setting.recipe.mesh.model or 1,
    )
    return path.in_words(setting.length)

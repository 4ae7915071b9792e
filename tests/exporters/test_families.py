"""The matrix: every family, every format, base and tuned, in the consumer that users load it with.

`docs/parity.md` is written from it: `python -m tests.exporters.test_families`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.exporters.consumer import Job, run_consumers
from gemma_keras_tune.exporters.gate import TOLERANCE, Expected, compare, expect
from gemma_keras_tune.exporters.hf import write_hf
from gemma_keras_tune.exporters.peft import write_peft
from gemma_keras_tune.model.families import FAMILIES
from gemma_keras_tune.model.lora import load_adapter, merge
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import ExportRecipe, LoraRecipe
from tests.exporters.conftest import tuned_model
from tests.support.tiny_models import TINY_FAMILIES, tiny_gemma1

pytestmark = pytest.mark.slow

FLOAT32 = ExportRecipe(format="hf")
ALL_SEVEN = LoraRecipe(rank=4, targets=("all-linear",))
MODELS = TINY_FAMILIES | {"gemma-untied": tiny_gemma1(tied=False)}
COLUMNS = ("hf base", "hf merged", "peft live", "peft merged", "keras base", "keras merged")


@dataclass(frozen=True)
class Cell:
    """What a consumer's answer differs by, and whether it is the tuned model's."""

    difference: float
    agrees: bool
    greedy_equal: bool | None
    from_base: float | None


def model_of(name: str) -> Model:
    config = MODELS[name]
    return tuned_model(config, FAMILIES[config.family].template, strength=0.02, lora=ALL_SEVEN)


def consumers(model: Model, root: Path) -> dict[str, Cell]:
    """The artifacts of one model in `transformers` and `peft`."""
    base = model.replace(adapters=None)
    jobs = {}
    for name, one in (("base", base), ("merged", model)):
        folder = root / name
        folder.mkdir(parents=True)
        write_hf(folder, one, FLOAT32)
        jobs[name] = Job(kind="hf", folder=folder)
    adapter = root / "peft"
    adapter.mkdir()
    write_peft(adapter, model)
    jobs["peft"] = Job(kind="peft", folder=adapter, base=root / "base")
    tuned, plain = expect(model), expect(base)
    results, versions = run_consumers(list(jobs.values()), tuned.probes, root)
    found = dict(zip(jobs, results, strict=True))

    def cell(name: str, expected: Expected, variant: str) -> Cell:
        result = found[name]
        assert result["error"] is None, result["error"]
        only = result | {"variants": {variant: result["variants"][variant]}}
        parity = compare(expected, only, rule="float32", work_dir=root, versions=versions)
        return Cell(
            parity.max_abs_diff / parity.logits_std,
            parity.passed,
            parity.greedy_equal,
            parity.base_max_abs_diff and parity.base_max_abs_diff / parity.logits_std,
        )

    return {
        "hf base": cell("base", plain, "saved"),
        "hf merged": cell("merged", tuned, "saved"),
        "peft live": cell("peft", tuned, "live"),
        "peft merged": cell("peft", tuned, "merged"),
    }


def in_keras(model: Model, spoil: Callable[[Model], Model] | None = None) -> dict[str, Cell | None]:
    """The same model as a `CausalLM` of KerasHub; None where KerasHub has no setting for it."""
    from gemma_keras_tune.exporters.gate_reference import prompt_logits
    from gemma_keras_tune.exporters.probes import Prompt

    if not model.config.tied:
        return {"keras base": None, "keras merged": None}
    ids = np.random.default_rng(0).integers(4, 400, (1, 30))
    prompts = (Prompt(ids=tuple(int(i) for i in ids[0]), keep=30),)
    base = model.replace(adapters=None)

    def cell(ours: Model) -> Cell:
        expected = prompt_logits(ours, prompts)[0]
        causal_lm = (spoil(ours) if spoil else ours).to_keras()
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
        if "position_ids" in causal_lm.input:
            inputs["position_ids"] = np.arange(30)[None]
        with jax.default_matmul_precision("highest"):
            found = np.asarray(jax.jit(lambda x: causal_lm(x))(inputs)[0], np.float32)
        difference = float(np.abs(found - expected).max() / expected.std(axis=-1).mean())
        agrees = bool((found.argmax(-1) == expected.argmax(-1)).all())
        return Cell(difference, agrees and difference < TOLERANCE["float32"], None, None)

    return {"keras base": cell(base), "keras merged": cell(model)}


@pytest.mark.parametrize("name", MODELS)
def test_the_consumers_compute_what_was_trained(name: str, tmp_path: Path) -> None:
    found = consumers(model_of(name), tmp_path)
    for column, cell in found.items():
        assert cell.agrees, f"{column}: {cell}"
        assert cell.greedy_equal
    # else a lost adapter would pass
    assert all((found[column].from_base or 0) > 0.02 for column in ("hf merged", "peft live"))


@pytest.mark.parametrize("name", [name for name, config in MODELS.items() if config.tied])
def test_keras_computes_what_was_trained(name: str) -> None:
    for column, cell in in_keras(model_of(name)).items():
        assert cell is not None and cell.agrees, f"{column}: {cell}"


def _layer_changed(name: str, change: Callable[[Any], Any]) -> Callable[[Model], Model]:
    def spoil(model: Model) -> Model:
        layers = dict(model.weights["layers"])
        layers[name] = layers[name].at[1].set(change(layers[name][1]))
        return model.replace(weights={**model.weights, "layers": layers})

    return spoil


KERAS_FAULTS: dict[str, Callable[[Model], Model]] = {
    "lora left out": lambda model: model.replace(adapters=None),
    "one key head for all": _layer_changed(
        "k_proj", lambda k: jnp.concatenate([k[:, :16], k[:, :16]], 1)
    ),
    "norm off by one": _layer_changed("pre_feedforward_norm", lambda norm: norm + 1),
    "transposed projection": _layer_changed("gate_proj", lambda m: m.T.reshape(m.shape)),
}


@pytest.mark.parametrize("fault", KERAS_FAULTS)
def test_a_fault_in_the_keras_model_is_found(fault: str) -> None:
    found = in_keras(model_of("gemma2"), KERAS_FAULTS[fault])["keras merged"]
    assert found is not None and not found.agrees
    assert found.difference > 20 * TOLERANCE["float32"]


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_of_every_family_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    write_peft(tmp_path, model)
    again = load_adapter(tmp_path, model.config)
    assert model.adapters is not None
    jax.tree.map(np.testing.assert_array_equal, again.tree, model.adapters.tree)


def test_merging_adds_each_layers_own_product() -> None:
    model = model_of("gemma4-small")
    merged, adapters = merge(model), model.adapters
    assert adapters is not None
    key = "q_proj.2"  # the global layers' queries, which are larger
    a, b = (np.asarray(adapters.tree[key][part][1]) for part in ("a", "b"))
    expected = np.asarray(model.weights["layers"][key][1]) + adapters.scale * (a @ b)
    np.testing.assert_allclose(merged.weights["layers"][key][1], expected, rtol=1e-5, atol=1e-6)
    assert model.config.kinds[5].head_dim == 32 and not model.config.layer_is_local[5]
    assert jnp.shape(model.weights["layers"]["k_proj"])[0] == 2  # the last three share
    assert replace(model.config, shared_kv_layers=0).kv_sources == tuple(range(6))


def test_the_page_has_every_family_and_nothing_failed_in_it() -> None:
    page = PAGE.read_text("utf-8")
    rows = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    assert rows >= set(MODELS)
    assert "**wrong**" not in page  # as `_shown` writes a cell that differs


PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"
_HEAD = """\
# Parity

Every family in every format, computed by what its users load it with. Made by
`python -m tests.exporters.test_families` on {date}; the same cells are tests.
Versions: {versions}.

Small random models (2 to 7 layers, width 32, window 8), an adapter of rank 4 on all seven
projections. A number is the largest difference of a logit, in standard deviations of the logits at
a position, over prompts of 15 to 79 tokens; {allowed:.0e} is allowed. Each also gave the same
greedy tokens, token ids, chat ids, special ids and stops. `moved` is how far the adapter moves the
logits: what a lost adapter would differ by. KerasHub can't express an output projection of its own.

| model | {columns} | moved |
|---|{lines}---|
"""
_TAIL = """
`hf base`: without adapter. `hf merged`: the adapter added into the weights. `peft live` and
`peft merged`: the adapter's folder beside the exported base, as `peft` loads it. `keras`:
`to_keras()` in KerasHub's own model.

## Faults that were planted

Each in an artifact of its own, and each found by the gate that stands before every export
(`tests/exporters/test_gate.py`; four of them in KerasHub's model too, `test_families.py`): the
adapter left out (float32 and bfloat16), alpha doubled, a projection misnamed, one key head for all,
one key head dropped, a projection transposed, a norm off by one, the window too long, no global
layer, another wavelength, bos and eos swapped, a wrong stop id, another chat template, no bos,
markers that text can say, numbers that are not finite.
"""


def write_page() -> None:
    """Writes `docs/parity.md` from what the consumers say now."""
    import tempfile
    from datetime import date
    from importlib.metadata import version

    rows = []
    for name in MODELS:
        model = model_of(name)
        with tempfile.TemporaryDirectory() as folder:
            cells = consumers(model, Path(folder)) | in_keras(model)
        shown = [_shown(cells[column]) for column in COLUMNS]
        moved = cells["hf merged"]
        assert moved is not None
        rows.append(f"| {name} | {' | '.join(shown)} | {moved.from_base:.2f} |")
    names = ("transformers", "peft", "torch", "keras-hub", "jax")
    head = _HEAD.format(
        date=date.today(),
        versions=", ".join(f"{name} {version(name)}" for name in names),
        allowed=TOLERANCE["float32"],
        columns=" | ".join(COLUMNS),
        lines="---|" * len(COLUMNS),
    )
    PAGE.write_text(head + "\n".join(rows) + "\n" + _TAIL, "utf-8")


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"{cell.difference:.0e}" if cell.agrees else f"**wrong** ({cell.difference:.1g})"


if __name__ == "__main__":
    write_page()

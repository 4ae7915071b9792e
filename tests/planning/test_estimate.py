"""Every term against real arrays, and the sum against what must make it larger or smaller."""

import dataclasses
import subprocess
import sys

import jax
import pytest

from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.planning.estimate import device_stages, machine_stages, setting_of
from gemma_keras_tune.recipe import LoraRecipe
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.training.step import initial_state
from tests.planning.support import tiny_setting
from tests.support.tiny_models import tiny_gemma3

SHAPES = {
    "two key heads of four": tiny_gemma3(),
    "one key head": tiny_gemma3(kv_heads=1),
    "as many key heads as heads": tiny_gemma3(kv_heads=4),
    "no head norms": tiny_gemma3(qk_norm=False, post_norms=False),
    "narrow and deep": tiny_gemma3(layers=7, width=16, hidden_dim=96, vocab_size=1000),
}


def terms(setting, stage="training"):
    found = {one.name: one for one in machine_stages(setting)}[stage]
    return {term.name: term.bytes for term in found.terms}


def nbytes(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_weights_take_what_the_arrays_take(shape, dtype):
    setting = tiny_setting(config=SHAPES[shape], dtype=dtype)
    weights = init_random(setting.config, seed=0, dtype=dtype)
    assert terms(setting)["frozen_weights"] == nbytes(weights)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "down_proj")])
def test_adapters_and_optimizer_take_what_the_arrays_take(shape, targets):
    setting = tiny_setting(config=SHAPES[shape])
    lora = LoraRecipe(rank=4, targets=targets)
    model = setting.recipe.model.model_copy(update={"lora": lora})
    recipe = setting.recipe.model_copy(update={"model": model})
    adapters = init_adapters(setting.config, lora)
    state = initial_state(adapters, recipe.train)
    moments = nbytes(state.optimizer) - nbytes(state.optimizer.hyperparams)
    found = terms(dataclasses.replace(setting, recipe=recipe))
    assert found["adapters"] == 2 * nbytes(adapters)  # the current and the best
    assert 0 <= moments - found["optimizer"] <= 16  # and two counters


def test_the_batch_takes_what_its_arrays_take():
    from gemma_keras_tune.planning.compiler import shapes_of

    setting = tiny_setting(length=16, rows=3, micro_batches=4)
    _, _, batches = shapes_of(setting)
    size = sum(one.size * one.dtype.itemsize for one in batches.values())
    assert terms(setting)["batch"] == size == 5 * 4 * 16 * 3 * 4


@pytest.mark.parametrize("stage", ["training", "evaluation"])
def test_more_tokens_longer_rows_and_a_higher_rank_never_take_less(stage):
    def peak(**changes):
        found = {one.name: one for one in machine_stages(tiny_setting(**changes))}
        return found[stage].bytes

    for name, values in {
        "rows": (1, 2, 4, 8),
        "length": (16, 64, 512, 4096),
        "rank": (1, 4, 16),
    }.items():
        peaks = [peak(**{name: value}) for value in values]
        assert peaks == sorted(peaks) and peaks[0] < peaks[-1] or stage == "evaluation", name
        assert peaks == sorted(peaks), name


def test_keeping_less_for_the_backward_pass_takes_less():
    none, dots, full = (
        terms(tiny_setting(rows=16, remat=remat))["activations"]
        for remat in ("none", "dots", "full")
    )
    assert full < dots < none
    assert full == 6 * 16 * 32 * 32 * 4  # layers, rows, length, width, bytes: one state a layer


def test_what_is_offloaded_waits_in_the_machine_s_memory_and_not_in_the_device_s():
    def planned(stages, remat):
        setting = tiny_setting(rows=16, remat=remat, platform="gpu", dtype="float32")
        stage = next(one for one in stages(setting) if one.name == "training")
        return {term.name: term.bytes for term in stage.terms}

    dots, offload = (planned(device_stages, remat) for remat in ("dots", "offload"))
    assert offload["activations"] == planned(device_stages, "full")["activations"]
    moved = planned(machine_stages, "offload")["offloaded"]
    assert moved == dots["activations"] - offload["activations"] > 0
    assert "offloaded" not in planned(machine_stages, "dots")
    layer, more = dots["layer"], offload["layer"]
    assert more - layer == 2 * moved / 6  # of six layers one's products are there, one's are coming


def test_in_a_kernel_a_gpu_holds_no_scores_of_a_whole_row():
    def layer(attention):
        setting = tiny_setting(
            rows=16,
            length=1024,
            attention=attention,
            platform="gpu",
            dtype="bfloat16",
            config=tiny_gemma3(head_dim=16),
        )
        (stage,) = (one for one in device_stages(setting) if one.name == "training")
        return next(term.bytes for term in stage.terms if term.name == "layer")

    scores = 16 * 1024 * 4 * 1024 * 4  # rows, length, heads, length, bytes
    assert layer("auto") - layer("fused") > scores


def test_logits_are_those_of_a_chunk_and_a_tile_of_the_vocabulary():
    config = tiny_gemma3(vocab_size=50_000, hidden_dim=8, width=32)
    found = terms(tiny_setting(config=config, rows=1, loss_chunk=64))
    assert found["logits"] == 32 * 2 * (2048 + 32) * 4  # a row of 32 tokens has no 64


def test_bfloat16_halves_weights_and_what_the_backward_pass_keeps():
    short, long = terms(tiny_setting(dtype="bfloat16")), terms(tiny_setting())
    for name in ("frozen_weights", "activations"):
        assert long[name] == 2 * short[name]
    assert "float32_copy" not in short
    gpu = tiny_setting(dtype="bfloat16", platform="gpu")
    assert gpu.numbers.size == tiny_setting(dtype="bfloat16").numbers.size
    assert tiny_setting(dtype="auto", platform="gpu").dtype == "bfloat16"


def test_a_processor_keeps_bfloat16_states_without_a_name_in_float32():
    short = terms(tiny_setting(dtype="bfloat16", remat="none"))
    long = terms(tiny_setting(remat="none"))
    head = 4 * tiny_gemma3().vocab_size * tiny_gemma3().width
    assert short["activations"] == long["activations"]
    assert short["float32_copy"] == long["frozen_weights"] - head


def test_the_process_that_checks_an_export_is_beside_this_one():
    setting = tiny_setting()
    assert [one.name for one in machine_stages(setting)] == ["model", "training", "evaluation"]
    exports = load_recipe("spam_classifier").export
    recipe = setting.recipe.model_copy(update={"export": exports})
    *_, export = machine_stages(dataclasses.replace(setting, recipe=recipe))
    assert export.name == "export"
    assert export.bytes_with_beside - export.bytes == export.beside[0].bytes > 0


def test_an_estimate_takes_milliseconds_and_loads_no_jax(tmp_path):
    code = (
        "import sys, time\n"
        "import gemma_keras_tune as gkt\n"
        "recipe = gkt.load_recipe('spam_classifier')\n"
        "gkt.plan(recipe, count=False)\n"
        "began = time.perf_counter()\n"
        "gkt.plan(recipe, count=False)\n"
        "print(time.perf_counter() - began)\n"
        "heavy = ('jax', 'jaxlib', 'keras', 'tensorflow', 'torch', 'transformers')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert float(seconds) < 1.0  # measured: 0.003; a busy machine is given room


def test_a_large_file_is_not_in_memory_but_the_rows_of_the_report_are(tmp_path):
    path = tmp_path / "rows.csv"
    recipe = tiny_setting().recipe
    planned = {}
    for size in (1000, 10**6, 10**9, 2 * 10**9):
        with path.open("wb") as file:
            file.truncate(size)
        data = recipe.data.model_copy(update={"path": str(path), "test_share": 0.05})
        setting = setting_of(recipe.model_copy(update={"data": data}), tiny_gemma3(), "cpu")
        planned[size] = terms(setting)["data"]
        assert terms(setting, "evaluation")["held_back"] == pytest.approx(15 * 0.05 * size)
    assert planned[10**6] == pytest.approx(1000 * planned[1000])
    assert planned[2 * 10**9] - planned[10**9] == pytest.approx(0.2e9)
    given = recipe.data.model_copy(update={"path": str(path), "test_path": str(path)})
    setting = setting_of(recipe.model_copy(update={"data": given}), tiny_gemma3(), "cpu")
    assert terms(setting, "evaluation")["held_back"] == 15 * 2 * 10**9

"""The compiler's figures against the arrays themselves, and that nothing is compiled twice."""

import jax
import pytest

from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.planning import compiler
from gemma_keras_tune.planning.estimate import machine_stages
from gemma_keras_tune.planning.values import Program
from gemma_keras_tune.run_folder import HOME_VARIABLE
from gemma_keras_tune.training.step import initial_state
from tests.planning.support import tiny_setting
from tests.support.tiny_models import tiny_gemma3

TEMPORARIES = ("activations", "gradients", "batch_states", "logits", "layer", "float32_copy")
"""What the compiler reserves for a step, in the plan's words."""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))


@pytest.fixture
def step_only(monkeypatch):
    """Compiles the step alone: what else a run has takes as long, and is asked alike."""
    every = compiler._lowered
    monkeypatch.setattr(
        compiler, "_lowered", lambda setting: {"training": every(setting)["training"]}
    )


def nbytes(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_the_compilers_inputs_are_the_arrays_of_a_step(step_only):
    config = tiny_gemma3(kv_heads=1, layers=3, layer_is_local=(True, True, False))
    setting = tiny_setting(config=config)
    check = compiler.check_by_compiler(setting)
    adapters = init_adapters(config, setting.recipe.model.lora)
    state = initial_state(adapters, setting.recipe.train)
    weights = init_random(config, seed=0)
    batch = 5 * 4 * 2 * 2 * 32
    found = check.programs["training"]
    assert found.argument_bytes == nbytes(state) + nbytes(weights) + batch
    assert 0 <= nbytes(state) - found.alias_bytes <= 64  # the state is written over
    assert check.device.startswith("cpu")


@pytest.mark.parametrize(("rows", "length"), [(8, 128), (4, 640)], ids=["mask", "blocks"])
@pytest.mark.parametrize(
    "remat",
    [
        "dots",
        pytest.param("full", marks=pytest.mark.slow),
        pytest.param("none", marks=pytest.mark.slow),
    ],
)
def test_the_formula_is_the_compilers_word_within_a_few_per_cent(remat, rows, length, step_only):
    config = tiny_gemma3(width=64, hidden_dim=192, heads=4, kv_heads=1, head_dim=32, layers=8)
    setting = tiny_setting(config=config, rows=rows, length=length, remat=remat)
    own = {term.name: term.bytes for term in machine_stages(setting)[1].terms}
    formula = sum(own.get(name, 0) for name in TEMPORARIES)
    reserved = compiler.check_by_compiler(setting).programs["training"].temp_bytes
    assert formula == pytest.approx(reserved, rel=0.12)


@pytest.mark.parametrize(("remat", "off"), [("dots", 0.1), ("full", 0.14), ("none", 0.03)])
def test_so_it_is_in_bfloat16_which_a_processor_keeps_as_it_is(remat, off, step_only):
    config = tiny_gemma3(
        width=128, hidden_dim=512, heads=4, kv_heads=1, head_dim=64, layers=8, vocab_size=40_000
    )
    setting = tiny_setting(config=config, rows=8, length=128, dtype="bfloat16", remat=remat)
    own = {term.name: term.bytes for term in machine_stages(setting)[1].terms}
    formula = sum(own.get(name, 0) for name in TEMPORARIES)
    reserved = compiler.check_by_compiler(setting).programs["training"].temp_bytes
    assert ("float32_copy" in own) == (remat == "none")
    assert formula == pytest.approx(reserved, rel=off)


def test_an_answer_is_kept_and_nothing_is_compiled_again(monkeypatch):
    setting = tiny_setting(config=tiny_gemma3(layers=2))
    first = compiler.check_by_compiler(setting)
    assert set(first.programs) == {"training", "validation", "evaluation"}

    def refuse(*_):
        raise AssertionError("compiled again")

    monkeypatch.setattr(compiler, "_lowered", refuse)
    again = compiler.check_by_compiler(setting)
    assert (first.cached, again.cached) == (False, True)
    assert again.programs == first.programs
    same = tiny_setting(config=tiny_gemma3(layers=2), epochs=9, learning_rate=0.5)
    assert compiler.check_by_compiler(same).cached


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 1},
        {"length": 16},
        {"rank": 2},
        {"remat": "full"},
        {"loss_chunk": 8},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_what_changes_the_program_is_asked_anew(changes, monkeypatch):
    monkeypatch.setattr(compiler, "_lowered", lambda setting: {})
    config = tiny_gemma3(layers=2)
    compiler.check_by_compiler(tiny_setting(config=config))
    assert not compiler.check_by_compiler(tiny_setting(config=config, **changes)).cached


def test_the_compilers_word_takes_the_place_of_the_formula():
    step = Program(argument_bytes=1, output_bytes=1, alias_bytes=1, temp_bytes=12_345_678)
    training = machine_stages(tiny_setting(), {"training": step})[1]
    own = {term.name: term.bytes for term in training.terms}
    assert own["compiled_step"] == 12_345_678
    assert "activations" not in own and "logits" not in own

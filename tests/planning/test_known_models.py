"""Sizes of models that nobody has downloaded, against the catalogue and the demo's own file."""

from types import SimpleNamespace

import pytest

from gemma_keras_tune.catalogue import catalogue
from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.weights import parameter_count
from gemma_keras_tune.planning import known_models
from gemma_keras_tune.planning.known_models import model_config
from gemma_keras_tune.recipe import ModelRecipe


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_the_sizes_give_the_catalogues_number_of_parameters(entry):
    assert parameter_count(model_config(ModelRecipe(preset=entry.name))) == entry.parameters


@pytest.mark.slow
def test_the_demos_sizes_are_those_of_its_file():
    from gemma_keras_tune.model.load import describe_model

    assert describe_model(ModelRecipe()).config == model_config(ModelRecipe())


@pytest.mark.parametrize(
    "preset", ["hf://somebody/something", "kaggle://somebody/gemma/keras/theirs/1"]
)
def test_a_model_that_only_a_download_could_tell_is_refused(preset):
    with pytest.raises(ModelError, match="isn't on this machine") as raised:
        model_config(ModelRecipe(preset=preset))
    assert raised.value.code == "PLAN_MODEL_NOT_HERE"


def test_a_catalogued_handle_is_known_by_its_preset():
    entry = next(one for one in catalogue() if one.name == "gemma3_1b")
    assert model_config(ModelRecipe(preset=entry.handle)).layers == 26


def test_what_training_takes_is_the_devices_memory_where_there_is_one(monkeypatch):
    machine, device = SimpleNamespace(needed_bytes=9), SimpleNamespace(needed_bytes=5)
    for memories, expected in (((machine,), 9), ((machine, device), 5)):
        found = SimpleNamespace(memories=memories)
        monkeypatch.setattr("gemma_keras_tune.planning.make.plan", lambda *_, f=found, **__: f)
        assert known_models.memory_to_train("gemma3-1b") == {"lora": expected}


def test_an_unknown_name_is_the_models_own_error():
    with pytest.raises(ModelError) as raised:
        model_config(ModelRecipe(preset="gemma3_1bb"))
    assert raised.value.code == "MODEL_UNKNOWN"


def test_a_local_models_header_is_read_once_until_it_changes(tmp_path, monkeypatch):
    from gemma_keras_tune.model import load

    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path / "home"))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")
    config = known_models.known_config("gemma3-270m")
    asked = []

    class Described:
        def __init__(self, recipe):
            asked.append(recipe.preset)
            self.config = config

    monkeypatch.setattr(load, "describe_model", Described)
    recipe = ModelRecipe(preset=str(file))
    assert model_config(recipe) == model_config(recipe) == config
    assert len(asked) == 1
    file.write_bytes(b"another")
    assert model_config(recipe) == config
    assert len(asked) == 2

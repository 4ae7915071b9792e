"""What a run must fetch first is told before it starts, and no network is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_keras_tune.catalogue import find, hub_of
from gemma_keras_tune.planning.fetch import fetch_first


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_model_of_the_catalogue_is_fetched_by_an_account(monkeypatch: pytest.MonkeyPatch):
    """A billion parameters of two bytes each."""
    found = fetch_first("gemma3_instruct_1b", 1_000_000_000)
    assert found is not None
    assert (found.hub, found.size_bytes) == ("kaggle", 2_000_000_000)
    assert (found.needs_account, found.has_key) == (True, False)
    assert "2.0 GB" in found.words and "was not found here" in found.words
    monkeypatch.setenv("KAGGLE_API_TOKEN", "not a real one")
    with_key = fetch_first("gemma3_instruct_1b", 1_000_000_000)
    assert with_key is not None and with_key.has_key


def test_a_file_that_holds_no_key_is_none(tmp_path: Path):
    (tmp_path / "kaggle.json").write_text("{}", "utf-8")
    found = fetch_first("gemma3_instruct_1b", 1)
    assert found is not None and not found.has_key


def test_what_anybody_may_fetch_takes_no_account():
    found = fetch_first("gemma4_instruct_2b", 1)
    assert found is not None and not found.needs_account
    assert "account" not in found.words


def test_what_is_here_is_not_fetched(tmp_path: Path):
    entry = find("gemma3_instruct_1b")
    assert entry is not None
    folder = tmp_path / "cache" / "models" / "keras" / "gemma3" / "keras"
    _, _, handle = entry.handle.partition("://")
    *_, variation, version = handle.split("/")
    (folder / variation / version).mkdir(parents=True)
    (folder / variation / f"{version}.complete").touch()
    assert fetch_first("gemma3_instruct_1b", 1) is None
    assert fetch_first(str(tmp_path), 1) is None, "a folder"


@pytest.mark.parametrize(
    ("preset", "hub"),
    [
        ("demo", ""), ("gemma3_1b", "kaggle"), ("kaggle://a/b/keras/c", "kaggle"),
        ("hf://a/b", "hf"), ("/models/one.gguf", ""),
    ],
)  # fmt: skip
def test_each_name_says_where_its_model_is(preset: str, hub: str):
    assert hub_of(preset) == hub

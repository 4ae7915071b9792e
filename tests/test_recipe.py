"""Recipes: what is read is what was written, and everything wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.recipe import LORA_TARGETS, Recipe
from gemma_keras_tune.recipe_files import (
    load_recipe,
    parse_assignments,
    parse_recipe,
    recipe_keys,
    shipped_recipes,
)

LEAST = {"name": "x", "data": {"path": "/rows.csv", "task": "classification"}}

EXPORTS: list[dict[str, str]] = [{"format": "hf"}, {"format": "peft", "dtype": "bfloat16"}]
numbers = st.floats(min_value=1e-6, max_value=1, exclude_min=True)
recipes = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        "data": st.fixed_dictionaries(
            {"path": st.just("/rows.csv"), "task": st.sampled_from(["instruction", "chat"])},
            optional={
                "system": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
                "max_length": st.integers(8, 131_072),
                "too_long": st.sampled_from(["error", "truncate", "drop"]),
                "validation_share": st.floats(0, 0.5),
            },
        ),
        "model": st.fixed_dictionaries(
            {},
            optional={
                "dtype": st.sampled_from(["auto", "float32", "bfloat16"]),
                "lora": st.fixed_dictionaries(
                    {},
                    optional={
                        "rank": st.integers(1, 1024),
                        "alpha": st.floats(0.01, 4096),
                        "targets": st.lists(st.sampled_from(LORA_TARGETS), min_size=1),
                        "use_rslora": st.booleans(),
                    },
                ),
            },
        ),
        "train": st.fixed_dictionaries(
            {},
            optional={
                "epochs": st.integers(1, 1000),
                "max_steps": st.none() | st.integers(1, 9),
                "learning_rate": numbers,
                "max_grad_norm": st.floats(0, 100),
                "patience": st.none() | st.integers(1, 9),
            },
        ),
        "export": st.lists(
            st.sampled_from(EXPORTS),
            max_size=2,
            unique_by=str,
        ),
    }
)


@given(recipes)
def test_what_is_written_is_read_back_the_same(settings: dict[str, Any]) -> None:
    import tomllib

    recipe = parse_recipe(settings)
    assert parse_recipe(json.loads(recipe.to_json())) == recipe
    assert parse_recipe(tomllib.loads(recipe.to_toml())) == recipe


@given(recipes)
def test_equal_recipes_have_equal_hashes_and_others_do_not(settings: dict[str, Any]) -> None:
    recipe = parse_recipe(settings)
    assert parse_recipe(json.loads(recipe.to_json())).sha256 == recipe.sha256
    changed = settings["train"].get("epochs", 2) % 1000 + 1
    other = parse_recipe({**settings, "train": {**settings["train"], "epochs": changed}})
    assert other.sha256 != recipe.sha256


def test_toml_lists_only_what_differs_from_the_defaults() -> None:
    recipe = parse_recipe({**LEAST, "train": {"epochs": 2, "learning_rate": 1e-3}})
    text = recipe.to_toml()
    assert "learning_rate" in text
    assert "epochs" not in text


def test_every_problem_is_listed_at_once_by_its_dotted_key() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(
            {
                "name": "x y",
                "data": {"path": "a", "task": "classification", "colums": {}},
                "train": {"learning_rte": 1, "epochs": "3", "learning_rate": 2.0},
                "model": {"lora": {"targets": ["c_attn"]}},
            },
            where="my.toml",
        )
    text = str(caught.value)
    assert text.startswith("my.toml has 6 problems:")
    for key in ("name:", "data.colums:", "train.learning_rte:", "train.epochs:", "model.lora."):
        assert key in text
    assert "Did you mean 'data.columns'?" in text
    assert "Did you mean 'train.learning_rate'?" in text
    assert "got '3'" in text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"task": "classification", "columns": {"prompt": "x"}}, "its parts are text, label"),
        ({"task": "instruction", "prompt_format": "no place"}, 'contain "{prompt}" exactly once'),
        ({"task": "instruction", "prompt_format": "{prompt}{prompt}"}, "exactly once"),
        ({"task": "instruction", "labels": ["a", "b"]}, 'only the task "classification"'),
        ({"task": "classification", "labels": ["a"]}, "at least two"),
        ({"task": "translation"}, "'classification', 'instruction', 'chat' or 'text'"),
        ({}, "data.task: is missing"),
    ],
)
def test_contradictions_in_the_data_section_are_explained(data: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"name": "x", "data": {"path": "a", **data}})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "train",
    [
        {"learning_rate": 1e9},
        {"learning_rate": 0},
        {"batch_tokens": 0},
        {"epochs": 10**6},
        {"epochs": True},
        {"epochs": 1.5},
        {"seed": -1},
    ],
)
def test_absurd_settings_are_refused(train: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"train.{next(iter(train))}"):
        parse_recipe({**LEAST, "train": train})


def test_nan_is_no_setting() -> None:
    with pytest.raises(RecipeError, match="NaN"):
        parse_recipe({**LEAST, "train": {"learning_rate": float("nan")}})


def test_a_recipe_can_not_be_changed() -> None:
    recipe = parse_recipe(LEAST)
    with pytest.raises(ValidationError):
        recipe.train.epochs = 5


def test_paths_are_relative_to_the_recipe_and_overrides_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "mine.toml"
    file.write_text('name = "x"\n[data]\npath = "rows.csv"\ntask = "text"\n')
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe(file).data.path == str(tmp_path / "rows.csv")
    changed = load_recipe(file, {"data.path": "here.csv", "train.epochs": 7})
    assert changed.data.path == str(tmp_path / "elsewhere" / "here.csv")
    assert changed.train.epochs == 7


def test_assignments_are_read_as_toml_or_else_as_text() -> None:
    assert parse_assignments(
        ["train.epochs=3", "name=spam", "train.learning_rate = 1e-4", 'data.labels=["a", "b"]']
    ) == {
        "train.epochs": 3,
        "name": "spam",
        "train.learning_rate": 1e-4,
        "data.labels": ["a", "b"],
    }
    with pytest.raises(RecipeError, match="key=value"):
        parse_assignments(["epochs"])


def test_an_override_of_no_setting_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean 'train.epochs'\?"):
        load_recipe("spam_classifier", {"train.epoch": 3})
    with pytest.raises(RecipeError, match="holds no settings of its own"):
        load_recipe("spam_classifier", {"name.first": 3})


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.toml", "name = ", "RECIPE_SYNTAX"),
        ("a.json", "{", "RECIPE_SYNTAX"),
        ("a.json", "[]", "RECIPE_SYNTAX"),
        ("a.toml", "\x00\xff", "RECIPE_SYNTAX"),
    ],
)
def test_files_that_are_no_recipe_are_refused(
    tmp_path: Path, name: str, content: str, code: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(RecipeError, match=name) as caught:
        load_recipe(path)
    assert caught.value.code == code


def test_an_unknown_recipe_lists_those_that_ship() -> None:
    with pytest.raises(
        RecipeError, match=r"chat_answers.*Did you mean 'spam_classifier'"
    ) as caught:
        load_recipe("spam_clasifier")
    assert caught.value.code == "RECIPE_NOT_FOUND"


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_recipes_that_ship_are_valid_and_their_files_exist(name: str) -> None:
    recipe = load_recipe(name)
    for path in (recipe.data.path, recipe.data.test_path):
        assert path is None or Path(path).is_file()


def test_every_setting_has_a_help_text() -> None:
    def sections(section: Any) -> list[Any]:
        from gemma_keras_tune.recipe_files import _section_of

        inner = [_section_of(field.annotation) for field in section.model_fields.values()]
        return [section, *(found for item in inner if item for found in sections(item))]

    for section in sections(Recipe):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
    assert "train.learning_rate" in set(recipe_keys())

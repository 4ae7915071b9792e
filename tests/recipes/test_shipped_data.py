"""The data sets that ship are what their README and their recipes say."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from gemma_keras_tune import load_recipe
from gemma_keras_tune.recipe_files import shipped_recipes

DATA = Path(__file__).parents[2] / "recipes" / "data"
FILES = ("spam_train.csv", "spam_test.csv", "chat_train.jsonl", "chat_test.jsonl")


def rows_of(name: str) -> list[dict[str, str]]:
    with open(DATA / name, encoding="utf-8", newline="") as file:
        if name.endswith(".csv"):
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file]


def triples(text: str) -> set[str]:
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def near_duplicates(left: list[str], right: list[str]) -> list[tuple[str, str]]:
    """The pairs that share at least half of their runs of three words."""
    found = []
    counted = [(text, triples(text)) for text in right]
    for text in left:
        mine = triples(text)
        for other, theirs in counted:
            shared = len(mine & theirs)
            if 2 * shared >= len(mine) + len(theirs) - shared:
                found.append((text, other))
    return found


@pytest.mark.parametrize(("name", "of_each"), [("spam_train.csv", 250), ("spam_test.csv", 160)])
def test_spam_rows_are_half_spam_and_half_ham(name: str, of_each: int):
    rows = rows_of(name)
    assert all(set(row) == {"message", "label"} for row in rows)
    assert Counter(row["label"] for row in rows) == {"spam": of_each, "ham": of_each}


def test_no_spam_message_resembles_another():
    messages = [row["message"] for name in FILES[:2] for row in rows_of(name)]
    assert len(near_duplicates(messages, messages)) == len(messages)  # only with themselves


def test_spam_messages_are_single_lines_without_addresses():
    for row in rows_of("spam_train.csv") + rows_of("spam_test.csv"):
        message = row["message"]
        assert len(message.split()) >= 12
        assert message == " ".join(message.split())
        assert message.isprintable()
        assert set(re.findall(r"[\w.+-]+@[\w-]+\.\w+", message)) <= {"someone@example.com"}
        assert not re.search(r"\(?\b\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b", message)


@pytest.mark.parametrize(("name", "count"), [("chat_train.jsonl", 264), ("chat_test.jsonl", 60)])
def test_chat_rows_hold_a_prompt_and_a_response(name: str, count: int):
    rows = rows_of(name)
    assert len(rows) == count
    for row in rows:
        assert set(row) == {"prompt", "response"}
        assert all(text and text == text.strip() for text in row.values())


def test_no_chat_prompt_is_there_twice():
    prompts = [row["prompt"].lower() for name in FILES[2:] for row in rows_of(name)]
    assert len(set(prompts)) == len(prompts)


def test_no_held_back_chat_row_resembles_a_training_row():
    train, test = rows_of("chat_train.jsonl"), rows_of("chat_test.jsonl")
    for parts in (("prompt",), ("prompt", "response")):
        joined = [[" ".join(row[p] for p in parts) for row in rows] for rows in (train, test)]
        assert near_duplicates(*joined) == []


@pytest.mark.parametrize("name", FILES)
def test_the_readme_names_the_hash_of_every_file(name: str):
    content = (DATA / name).read_bytes()
    assert len(content) < 500_000
    row = f"| `{name}` | {len(rows_of(name))} | `{hashlib.sha256(content).hexdigest()}` |"
    assert row in (DATA / "README.md").read_text("utf-8")


def test_every_recipe_that_ships_loads_and_its_files_exist():
    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    assert {"spam_classifier", "chat_answers"} <= set(recipes)
    for recipe in recipes.values():
        assert Path(recipe.data.path).is_file()
        assert recipe.data.test_path is None or Path(recipe.data.test_path).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("template", ["plain", "gemma"])
@pytest.mark.parametrize("name", ["spam_classifier", "chat_answers"])
def test_every_row_fits_the_recipe_with_the_real_tokenizer(name: str, template: str):
    from gemma_keras_tune.model.demo import demo_file
    from gemma_keras_tune.model.gguf import gguf_tokenizer_proto
    from gemma_keras_tune.model.gguf_file import read_gguf
    from gemma_keras_tune.text.template import template_for
    from gemma_keras_tune.text.tokenizer import Tokenizer
    from gemma_keras_tune.text.turns import Turn

    data = load_recipe(name).data
    prompt, answer = ("text", "label") if data.task == "classification" else ("prompt", "response")
    turns_to_ids = template_for(
        template, Tokenizer(gguf_tokenizer_proto(read_gguf(demo_file()[0])))
    )
    assert data.max_length >= 128
    for path in (data.path, data.test_path):
        for row in rows_of(Path(str(path)).name):
            question = data.prompt_format.replace("{prompt}", row[data.column(prompt)])
            turns = [Turn("user", question), Turn("model", row[data.column(answer)])]
            assert len(turns_to_ids.render(turns).ids) <= 128

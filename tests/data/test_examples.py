from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma_keras_tune.data.examples import examine, load_examples
from gemma_keras_tune.errors import DataError, RecipeError
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.text.turns import Turn


@pytest.fixture
def recipe(tmp_path):
    def make(content, *, name="data.csv", **settings):
        path = tmp_path / name
        if not isinstance(content, str):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(content, encoding="utf-8", newline="")
        return DataRecipe(path=str(path), **{"validation_share": 0.0, "test_share": 0.0} | settings)

    return make


def refusal(made):
    with pytest.raises(DataError) as caught:
        load_examples(made)
    return next(item for item in caught.value.findings if item.severity == "error")


def test_a_classified_row_becomes_a_prompt_and_its_label(recipe):
    made = recipe(
        "message,class\n a {prompt} b ,ham \nc,spam\n",
        task="classification",
        columns={"text": "message", "label": "class"},
        prompt_format="Is it {spam}?\n{prompt}\nAnswer:",
        system="Be short.",
    )
    examples = load_examples(made)
    first = examples.train[0]
    assert first.turns == (
        Turn("system", "Be short."),
        Turn("user", "Is it {spam}?\n a {prompt} b \nAnswer:"),
        Turn("model", "ham"),
    )
    assert (first.label, first.row) == ("ham", 2)
    assert first.frame == ("Be short.\n\nIs it {spam}?\n", "\nAnswer:")
    assert examples.labels == ("ham", "spam")
    assert len(next(iter(examples.sources.values()))) == 64


def test_prompt_and_response_with_a_system_text_of_their_own(recipe):
    rows = [
        {"prompt": "p", "response": "r", "system": "own"},
        {"prompt": "q", "response": "s", "system": " "},
        {"prompt": "t", "response": "u"},
    ]
    made = recipe(rows, name="d.jsonl", task="instruction", system="shared")
    systems = [example.turns[0].text for example in load_examples(made).train]
    assert systems == ["own", "shared", "shared"]


@pytest.mark.parametrize(
    "names",
    [("role", "content", "assistant"), ("role", "content", "model"), ("from", "value", "gpt")],
)
def test_messages_of_every_usual_spelling_become_turns(recipe, names):
    role, content, model = names
    user = "human" if model == "gpt" else "user"
    messages = [
        {role: "system", content: "s"},
        {role: user, content: "a"},
        {role: model, content: "b"},
    ]
    made = recipe([{"messages": messages}], name="d.jsonl", task="chat", system="unused here")
    (example,) = load_examples(made).train
    assert example.turns == (Turn("system", "s"), Turn("user", "a"), Turn("model", "b"))


def test_messages_may_be_json_in_a_csv_cell_and_lists_of_text_parts(recipe):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
    ]
    cell = json.dumps(messages).replace('"', '""')
    (example,) = load_examples(recipe(f'messages\n"{cell}"\n', task="chat")).train
    assert example.turns == (Turn("user", "ab"), Turn("model", "c"))


def test_raw_text_is_one_turn(recipe):
    (example,) = load_examples(recipe([{"text": " a\n"}], name="d.jsonl", task="text")).train
    assert example.turns == (Turn("text", " a\n"),)


def user(text):
    return {"role": "user", "content": text}


def model(text):
    return {"role": "assistant", "content": text}


BAD_ROWS = {
    "no text": ("classification", {"label": "a"}, "MISSING_VALUE"),
    "null text": ("classification", {"text": None, "label": "a"}, "MISSING_VALUE"),
    "blank text": ("classification", {"text": " \t", "label": "a"}, "EMPTY_TEXT"),
    "a number for a text": ("classification", {"text": 5, "label": "a"}, "WRONG_TYPE"),
    "blank label": ("classification", {"text": "x", "label": " "}, "EMPTY_ANSWER"),
    "fraction as label": ("classification", {"text": "x", "label": 0.5}, "WRONG_TYPE"),
    "nan label": ("classification", {"text": "x", "label": "NaN"}, "NAN_LABEL"),
    "blank answer": ("instruction", {"prompt": "x", "response": ""}, "EMPTY_ANSWER"),
    "blank prompt": ("instruction", {"prompt": "", "response": "y"}, "EMPTY_TEXT"),
    "messages are a number": ("chat", {"messages": 3}, "BAD_MESSAGES"),
    "messages hold a text": ("chat", {"messages": ["x"]}, "BAD_MESSAGES"),
    "no messages": ("chat", {"messages": []}, "NO_TURNS"),
    "system only": ("chat", {"messages": [{"role": "system", "content": "x"}]}, "NO_TURNS"),
    "empty system": (
        "chat",
        {"messages": [{"role": "system", "content": ""}, user("a"), model("b")]},
        "EMPTY_TURN",
    ),
    "unknown role": ("chat", {"messages": [{"role": "robot", "content": "x"}]}, "UNKNOWN_ROLE"),
    "no role": ("chat", {"messages": [{"content": "x"}]}, "UNKNOWN_ROLE"),
    "no content": ("chat", {"messages": [{"role": "user"}]}, "BAD_MESSAGES"),
    "an image": (
        "chat",
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        "BAD_MESSAGES",
    ),
    "assistant first": ("chat", {"messages": [model("a"), user("b")]}, "ROLE_ORDER"),
    "user twice": ("chat", {"messages": [user("a"), user("b"), model("c")]}, "ROLE_ORDER"),
    "no answer": ("chat", {"messages": [user("a"), model("b"), user("c")]}, "NO_ANSWER"),
    "blank raw text": ("text", {"text": "\n"}, "EMPTY_TEXT"),
}
GOOD_ROWS = {
    "classification": {"text": "x", "label": "a"},
    "instruction": {"prompt": "x", "response": "y"},
    "chat": {"messages": [user("a"), model("b")]},
    "text": {"text": "x"},
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_by_code_and_line_and_skipped_only_if_chosen(case, recipe):
    task, row, code = BAD_ROWS[case]
    rows = [GOOD_ROWS[task], row]
    found = refusal(recipe(rows, name="d.jsonl", task=task))
    assert (found.code, found.where) == (code, ("d.jsonl:2",))
    examples = load_examples(recipe(rows, name="d.jsonl", task=task, bad_rows="skip"))
    assert len(examples.train) == 1
    assert code in {item.code for item in examples.findings}


def test_whole_numbers_and_booleans_are_labels(recipe):
    rows = [{"text": "x", "label": 1}, {"text": "y", "label": True}]
    assert load_examples(recipe(rows, name="d.jsonl", task="classification")).labels == (
        "1",
        "true",
    )


def test_a_missing_column_is_refused_with_the_columns_that_there_are(recipe):
    found = refusal(recipe("text,lable\na,b\n", task="classification"))
    assert found.code == "MISSING_COLUMN"
    assert "'label'" in found.what
    assert "'text', 'lable'" in found.what


def test_an_unknown_label_is_refused_with_those_that_are_allowed(recipe, tmp_path):
    (tmp_path / "test.csv").write_text("text,label\nz,c\n")
    made = recipe("text,label\nx,a\ny,b\n", task="classification")
    made = made.model_copy(update={"test_path": str(tmp_path / "test.csv")})
    found = refusal(made)
    assert (found.code, found.where) == ("UNKNOWN_LABEL", ("test.csv:2",))
    assert "'c' is none of 'a', 'b'" in found.what


def test_a_split_is_a_sequence_that_knows_what_the_recipe_says(recipe):
    made = recipe("text,label\nx,a\ny,b\nz,a\n", task="classification", max_length=64)
    train = load_examples(made).train
    assert [example.label for example in train] == ["a", "b", "a"]
    assert (train.task, train.labels, train.max_length) == ("classification", ("a", "b"), 64)
    assert train[1:].labels == ("a", "b")
    assert (len(train[1:]), train[1:][0].row) == (2, 3)


def test_named_labels_keep_their_order(recipe):
    made = recipe("text,label\nx,a\ny,b\n", task="classification", labels=("b", "a", "c"))
    assert load_examples(made).labels == ("b", "a", "c")


def test_rows_in_both_files_are_refused_above_one_in_a_hundred(recipe, tmp_path):
    test = tmp_path / "test.csv"
    made = recipe("text,label\n" + "".join(f"t{i},a\n" for i in range(200)), task="classification")
    made = made.model_copy(update={"test_path": str(test)})
    test.write_text("text,label\n" + "".join(f"T{i} ,a\n" for i in range(198, 400)))
    (overlap,) = load_examples(made).findings  # 2 of 202
    assert (overlap.code, overlap.severity, overlap.count) == ("TRAIN_TEST_OVERLAP", "warning", 2)
    test.write_text("text,label\n" + "".join(f"T{i} ,a\n" for i in range(197, 400)))
    found = refusal(made)
    assert (found.code, found.count) == ("TRAIN_TEST_LEAKAGE", 3)


def test_rows_split_off_for_validation_are_in_the_training_file_too(recipe, tmp_path):
    rows = [f"t{i},a\n" for i in range(100)]
    made = recipe(
        "text,label\n" + "".join(rows), task="classification", validation_share=0.2, test_share=0.0
    )
    held_back = load_examples(made).validation
    test = tmp_path / "test.csv"
    test.write_text("text,label\n" + "".join(rows[example.row - 2] for example in held_back))
    found = refusal(made.model_copy(update={"test_path": str(test)}))
    assert (found.code, found.count) == ("TRAIN_TEST_LEAKAGE", 20)


def test_rows_of_a_validation_file_that_are_in_the_test_file_are_told(recipe, tmp_path):
    made = recipe("text,label\n" + "".join(f"t{i},a\n" for i in range(9)), task="classification")
    paths = {part: str(tmp_path / f"{part}.csv") for part in ("validation", "test")}
    for path, numbers in zip(paths.values(), [range(10, 20), range(17, 30)], strict=True):
        Path(path).write_text("text,label\n" + "".join(f"t{i},a\n" for i in numbers))
    (told,) = load_examples(
        made.model_copy(update={f"{part}_path": path for part, path in paths.items()})
    ).findings
    assert (told.code, told.severity, told.count) == ("VALIDATION_TEST_OVERLAP", "warning", 3)
    assert told.where == ("test.csv:2", "test.csv:3", "test.csv:4")


def test_too_few_rows_to_hold_any_back_are_a_warning(recipe):
    made = recipe("text,label\nx,a\n", task="classification", test_share=0.5)
    assert [item.code for item in examine(made).findings] == ["EMPTY_SPLIT"]


def test_settings_that_a_task_has_no_use_for_are_refused(recipe):
    for settings in ({"prompt_format": "Q: {prompt}"}, {"system": "s"}):
        with pytest.raises(RecipeError, match="can't be used with the task 'text'"):
            load_examples(recipe("text\nx\n", task="text", **settings))

"""Tables that a person reads."""

import io
from pathlib import Path

from rich.console import Console

from gemma_keras_tune.console import reports
from gemma_keras_tune.console.answering import _Stream
from gemma_keras_tune.evaluation.answered import AnsweredTable
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.text.as_trained import turns_as_trained


def shown(function, *values) -> str:
    file = io.StringIO()
    function(Console(file=file, width=100, markup=False, highlight=False), *values)
    return file.getvalue()


def measures(labels: list[str], loss: float = 0.5) -> dict:
    figures = {"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 3}
    return {
        "loss": loss,
        "perplexity": 1.65,
        "tokens": 12,
        "accuracy": 0.75,
        "macro_f1": 0.7,
        "per_class": dict.fromkeys(labels, figures),
        "confusion": {"labels": labels, "counts": [[7] * len(labels)] * len(labels)},
    }


def report(labels: list[str]) -> dict:
    both = {"base": measures(labels, 2.0), "tuned": measures(labels)}
    return {"rows": 320, "shortened": 2, "dropped": 0, **both}


def test_base_and_tuned_stand_side_by_side_with_labels_and_confusion():
    text = shown(reports.show_evaluation, report(["ham", "[red]spam[/]"]))
    for part in ("right about 75.0% of 320 rows", "2 of them shortened", "[red]spam[/]"):
        assert part in text
    assert [line.split()[-2:] for line in text.splitlines() if "Loss" in line] == [
        ["2.0000", "0.5000"]
    ]


def test_the_confusion_of_many_labels_is_left_to_the_file():
    text = shown(reports.show_evaluation, report([f"label {number}" for number in range(30)]))
    assert "The confusion of 30 labels is in report.md." in text


def test_a_report_without_labels_or_base_has_its_loss():
    tuned = {"loss": 0.5, "perplexity": 1.65, "tokens": 12}
    values = {"rows": 4, "shortened": 0, "dropped": 0, "base": None, "tuned": tuned}
    text = shown(reports.show_evaluation, values)
    assert "The loss on 4 rows is 0.500 nats per answer token." in text
    assert "Base" not in text and "Accuracy" not in text


def test_answers_are_short_and_say_when_they_were_cut_off():
    answer = {"text": "word " * 200, "stop_reason": "length"}
    sample = {"prompt": "Q\x1b[2J?", "expected": "A", "base": None, "tuned": answer}
    text = shown(reports.show_answers, [sample])
    assert "... [cut off]" in text and "\x1b" not in text
    assert len(text.splitlines()) < 7


def test_a_runs_prompt_format_and_system_text_surround_a_prompt_as_in_training():
    recipe = DataRecipe(
        path="x", task="instruction", prompt_format="Q: {prompt}\nA:", system="Be brief."
    )
    turns = turns_as_trained(recipe, "Who? {prompt}")
    assert [(turn.role, turn.text) for turn in turns] == [
        ("system", "Be brief."),
        ("user", "Q: Who? {prompt}\nA:"),
    ]
    chat = turns_as_trained(DataRecipe(path="x", task="chat"), "Who?")
    assert [turn.text for turn in chat] == ["Who?"]


def test_a_streamed_answer_is_the_whole_answer_letter_by_letter(tiny_tokenizer, capsys):
    text = "na\u00efve \U0001f600 a\x1bb"
    stream = _Stream(tiny_tokenizer, stop_ids=(1,))
    seen = []
    for token in [*tiny_tokenizer.encode(text), 1]:
        stream(0, token)
        seen.append(capsys.readouterr().out)
    assert "".join(seen) == "na\u00efve \U0001f600 a\\x1bb"
    assert "\ufffd" not in "".join(seen)


def test_an_answered_table_tells_what_became_of_every_row():
    found = AnsweredTable(
        path=Path("out.csv"),
        rows=1234,
        columns=("label", "confidence", "doubtful", "remark (2)"),
        counts={"spam": 1200, "ham": 30},
        not_answered={"EMPTY_TEXT": 3, "TOO_LONG": 1},
        shortened=0,
        cut_off=2,
        guarded=2,
        first=(),
        doubtful=17,
    )
    said = shown(reports.show_answered, found)
    assert "17 answers (the column 'doubtful')" in said
    for part in ("1,230 of 1,234 rows", "spam 1,200, ham 30", "EMPTY_TEXT 3, TOO_LONG 1"):
        assert part in said
    assert "2 answers" in said and "2 cells that look like formulas" in said
    assert "'remark (2)'" in said and "beginning" not in said and "out.csv" in said

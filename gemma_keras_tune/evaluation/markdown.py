"""A report as Markdown that nothing in the data can break."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

from .chance import SURE, Comparison
from .metrics import Classification, perplexity
from .report_values import Answer, Measures, Report, Sample

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&:@$^=])")
_LONGEST_TEXT = 1500  # characters of a prompt or answer that are shown
_LARGEST_MATRIX = 12  # labels; with more, the commonest mistakes are listed instead
_MISTAKES = 10


def report_markdown(report: Report) -> str:
    """The report: a table of base and tuned model, the labels, and the answers side by side."""
    sections = [["# Evaluation", _about_rows(report)], _overview(report)]
    models = _models(report)
    if report.tuned.classification is not None:
        sections.append(_labels(models))
        for name, measures in models:
            if measures.classification is not None:
                sections.append(_confusion(name, measures.classification))
    if report.samples:
        sections.append(["## Answers"])
        sections += [_sample(place, one) for place, one in enumerate(report.samples, start=1)]
    return "\n\n".join(block for section in sections for block in section) + "\n"


def inline(text: str) -> str:
    """Any text as one line of Markdown that shows it literally, in a table or elsewhere."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return _SPECIAL.sub(r"\\\1", " ".join(plain.split())) or "(empty)"


def fenced(text: str) -> str:
    """Any text as a block that shows it literally; long ones are cut, and say so."""
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}\n[... {len(text) - _LONGEST_TEXT} more characters]"
    lines = re.split(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", text)
    shown = "\n".join(
        "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line) for line in lines
    )
    fence = "`" * (max([2, *map(len, re.findall("`+", shown))]) + 1)
    return f"{fence}text\n{shown}\n{fence}"


def _models(report: Report) -> list[tuple[str, Measures]]:
    tuned = ("Tuned", report.tuned)
    return [tuned] if report.base is None else [("Base", report.base), tuned]


def _about_rows(report: Report) -> str:
    notes = [f"{report.rows} held-back rows, task {inline(report.task)}"]
    if report.shortened:
        notes.append(f"{report.shortened} of them shortened")
    if report.dropped:
        notes.append(f"{report.dropped} left out as too long")
    return ", ".join(notes) + "."


def _overview(report: Report) -> list[str]:
    models = _models(report)
    figures: list[tuple[str, Callable[[Measures], str]]] = []
    if report.tuned.classification is not None:
        figures += [
            ("Accuracy", lambda one: _share(one, "accuracy")),
            ("Accuracy, 95 % interval", _interval),
            ("Macro F1", lambda one: _share(one, "macro_f1")),
        ]
    figures += [
        ("Loss, nats per answer token", lambda one: f"{one.loss:.4f}"),
        ("Perplexity", lambda one: _number(perplexity(one.loss))),
        ("Answer tokens", lambda one: f"{one.tokens}"),
    ]
    rows = [[name, *(figure(measures) for _, measures in models)] for name, figure in figures]
    blocks = [_table(["", *(name for name, _ in models)], rows)]
    if report.compared is not None:
        blocks.append(_comparison(report.compared, rows=report.rows))
    return blocks


def _share(measures: Measures, name: str) -> str:
    found = measures.classification
    return "" if found is None else f"{getattr(found, name):.3f}"


def _interval(measures: Measures) -> str:
    found = measures.classification
    if found is None:
        return ""
    low, high = found.accuracy_interval
    return f"{low:.3f} to {high:.3f}"


def _comparison(found: Comparison, *, rows: int) -> str:
    said = (
        f"The tuned model does better on {found.better} rows and worse on {found.worse}: "
        f"p = {found.p_value:.2g} by the exact sign test"
    )
    if found.p_value < SURE:
        return f"{said}, more than chance would do."
    needed = found.rows_to_tell(rows)
    more = "" if needed is None else f" If all rows are like these, about {needed} would tell."
    return f"{said}, which can be chance.{more}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 1e6 else f"{value:.3g}"


def _labels(models: Sequence[tuple[str, Measures]]) -> list[str]:
    found = [(name, one.classification.per_class) for name, one in models if one.classification]
    columns = ["Label", "Rows"]
    for name, _ in found:
        columns += [f"{name}: precision", "recall", "F1"]
    rows = []
    for label, metrics in found[0][1].items():
        row = [inline(label), str(metrics.support)]
        for _, per_class in found:
            one = per_class[label]
            row += [f"{value:.3f}" for value in (one.precision, one.recall, one.f1)]
        rows.append(row)
    return ["## Labels", _table(columns, rows)]


def _confusion(name: str, found: Classification) -> list[str]:
    if len(found.labels) > _LARGEST_MATRIX:
        rows = list(_mistakes(found))[:_MISTAKES]
        table = _table(["Right", "Predicted", "Rows"], rows) if rows else "No mistakes."
        return [f"## Commonest mistakes: {name.lower()}", table]
    names = [inline(label) for label in found.labels]
    rows = [
        [f"**{label}**", *map(str, counts)]
        for label, counts in zip(names, found.confusion.tolist(), strict=True)
    ]
    about = "A line for each right label, a column for each predicted one."
    return [f"## Confusion: {name.lower()}", about, _table(["", *names], rows)]


def _mistakes(found: Classification) -> Iterator[list[str]]:
    """Right label, predicted label and count of every kind of mistake, the commonest first."""
    wrong = [
        (-count, i, j)
        for i, counts in enumerate(found.confusion.tolist())
        for j, count in enumerate(counts)
        if i != j and count
    ]
    for count, i, j in sorted(wrong):
        yield [inline(found.labels[i]), inline(found.labels[j]), str(-count)]


def _sample(place: int, sample: Sample) -> list[str]:
    where = f"{inline(PurePath(sample.file).name)}, line {sample.row}"
    blocks = [f"### {place}\\. {where}", fenced(sample.prompt)]
    blocks += ["**Expected**", fenced(sample.expected)]
    for name, answer in (("Base", sample.base), ("Tuned", sample.tuned)):
        if answer is not None:
            blocks += [_said(name, answer), fenced(answer.text)]
    return blocks


def _said(name: str, answer: Answer) -> str:
    said = f"**{name}**"
    if answer.predicted is not None and answer.confidence is not None:
        said += f": {inline(answer.predicted)}, confidence {answer.confidence:.3f}"
    return said + (" (cut off at the longest answer)" if answer.stop_reason == "length" else "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text, and whose other cells are to the right."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows))

"""Tables: what can be used, what the data is like, how the model did, what was exported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import screen
from .progress import duration, size

if TYPE_CHECKING:
    from ..catalogue import ModelEntry
    from ..data.check import DataReport
    from ..data.findings import Finding
    from ..doctor import Check
    from ..evaluation.answered import AnsweredTable
    from ..recipe import Recipe

_SEVERITY = {"error": "bold red", "warning": "yellow", "info": "dim"}
_STATUS = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
_LARGEST_MATRIX = 8  # labels; a larger one is in report.md
_LONGEST_ANSWER = 160  # characters of a prompt or an answer; report.md has more
_PLACES = 5


@dataclass(frozen=True)
class Listed:
    """A model of the catalogue, as it is listed.

    Attributes:
        entry: What the catalogue says.
        here: Whether it needs no download.
        memory: Bytes that training takes at its highest point, by method.
    """

    entry: ModelEntry
    here: bool
    memory: Mapping[str, int]


def show_models(console: Console, models: Sequence[Listed]) -> None:
    """The models of the catalogue, what training them takes, and which need no download."""
    table = _table("Name", "Size", "Context", "To train", "Turns", "Here", "Licence")
    for model in models:
        entry, here = model.entry, model.here
        table.add_row(
            screen.text(entry.name),
            _parameters(entry.parameters),
            f"{entry.context:,}",
            f"{model.memory['lora'] / 1e9:.1f} GB",
            "yes" if entry.instruct else "no",
            Text("yes", "green") if here else Text("no", "dim"),
            screen.text(entry.licence),
        )
    screen.say(
        console,
        table,
        "'Context': the longest text that it was made for, in tokens.",
        "'To train': memory of this machine that LoRA with default settings takes at its highest "
        "point; `gemma-keras-tune plan` says what yours takes, and how to take less.",
        "'Turns': tuned to answer instructions. The others were only pretrained; they learn "
        "a task as well, but chat only after training.",
        "Models that are not here are fetched from Kaggle when a recipe names them. Also possible: "
        "hf://owner/name, kaggle://owner/model/keras/variation, a local folder, a .gguf file.",
    )


def _parameters(count: int) -> str:
    return f"{count / 1e9:.1f} B" if count >= 950_000_000 else f"{count / 1e6:.0f} M"


def show_recipes(console: Console, recipes: Mapping[str, Recipe]) -> None:
    """The recipes that ship."""
    table = _table("Name", "Task", "Model", "Data", "Exports")
    for name, recipe in recipes.items():
        table.add_row(
            screen.text(name),
            screen.text(recipe.data.task),
            screen.text(recipe.model.preset),
            screen.text(PurePath(recipe.data.path).name),
            screen.text(", ".join(item.format for item in recipe.export) or "-"),
        )
    first = next(iter(recipes), "NAME")
    screen.say(
        console,
        table,
        screen.text(f"Run one:          {screen.command('train', first)}"),
        screen.text(f"Make it your own: {screen.command('recipes', 'copy', first)}"),
    )


def show_data(console: Console, report: DataReport) -> None:
    """The health report of a data set."""
    rows = [("Rows", _rows(report))]
    if report.total:
        rows.append(("Need attention", _attention(report)))
    if report.labels:
        counts = (f"{name} {count}" for name, count in list(report.labels.items())[:12])
        more = len(report.labels) - 12
        rows.append(("Labels", ", ".join(counts) + (f", and {more} more" if more > 0 else "")))
    if report.tokens:
        rows.append(("Tokens", _tokens(report.tokens)))
    rows.append(("Score", f"{report.score} of 100"))
    screen.say(console, screen.pairs(rows))
    for item in report.findings:
        where = ", ".join(_places(item)[:_PLACES])
        where += ", ..." if len(item.where) > _PLACES else ""
        head = Text.assemble(
            (f"{item.severity:8}", _SEVERITY[item.severity]),
            screen.text(item.code, "bold"),
            screen.text(f"  {item.count}x  {where}" if where else f"  {item.count}x", "dim"),
        )
        screen.say(console, head)
        table = Table.grid(padding=(0, 0, 0, 8))
        table.add_column(overflow="fold")
        table.add_row(screen.text(f"{item.what} {item.fix}".strip()))
        screen.say(console, table)
    if not report.findings:
        screen.say(console, Text("No findings.", "green"))


def show_evaluation(console: Console, report: Mapping[str, Any]) -> None:
    """Base and tuned model side by side.

    Args:
        console: Where to.
        report: What `report.json` holds.
    """
    models = [(name, report[name.lower()]) for name in ("Base", "Tuned") if report[name.lower()]]
    screen.say(console, screen.text(_in_a_sentence(dict(models), report["rows"]), "green"))
    notes = f"{report['rows']:,} held-back rows"
    notes += f", {report['shortened']} of them shortened" if report["shortened"] else ""
    notes += f", {report['dropped']} left out as too long" if report["dropped"] else ""
    table = _table(notes, *(name for name, _ in models))
    figures = [
        ("Accuracy", "accuracy", "{:.1%}"),
        ("Accuracy, 95 % interval", "accuracy_interval", "{0[0]:.1%} to {0[1]:.1%}"),
        ("Macro F1", "macro_f1", "{:.3f}"),
        ("Loss, nats per answer token", "loss", "{:.4f}"),
        ("Perplexity per answer token", "perplexity", "{:.4g}"),
        ("Answer tokens", "tokens", "{:,}"),
    ]
    for name, key, how in figures:
        if key in models[-1][1]:
            table.add_row(name, *(how.format(one[key]) for _, one in models))
    screen.say(console, table)
    if "per_class" in models[-1][1]:
        _show_labels(console, models)


def show_answers(console: Console, samples: Iterable[Mapping[str, Any]]) -> None:
    """Answers before and after training, beside what was expected."""
    for number, sample in enumerate(samples, start=1):
        rows: list[tuple[str, Text | str]] = [
            (f"{number}. Prompt", _excerpt(sample["prompt"])),
            ("Expected", _excerpt(sample["expected"])),
        ]
        for name in ("base", "tuned"):
            if sample[name] is not None:
                rows.append((name.capitalize(), _answer(sample[name], sample["expected"])))
        screen.say(console, *([""] if number > 1 else []), screen.pairs(rows))


def show_answered(console: Console, found: AnsweredTable) -> None:
    """What came of a table's rows, and where they are."""
    rows = [("Answered", f"{found.answered:,} of {found.rows:,} rows")]
    first = list(found.counts.items())[:12]
    counts = [f"{screen.short(label, 40)} {count:,}" for label, count in first]
    more = len(found.counts) - len(counts)
    if counts:
        rows.append(("Labels", ", ".join(counts) + (f", and {more} more" if more else "")))
    if found.not_answered:
        reasons = (f"{code} {count:,}" for code, count in found.not_answered.items())
        rows.append(("Not answered", f"{', '.join(reasons)} (the column {found.columns[-1]!r})"))
    for name, count, what in (
        ("Doubtful", found.doubtful, f"answers (the column {found.columns[-2]!r})"),
        ("Cut off", found.shortened, "rows, at their beginning"),
        ("Cut off", found.cut_off, "answers (longer ones: --max-tokens)"),
        ("Apostrophe", found.guarded, "cells that look like formulas (as they are: --raw)"),
    ):
        if count:
            rows.append((name, f"{count:,} {what}"))
    rows.append(("Written", screen.path_name(found.path)))
    screen.say(console, screen.pairs(rows))


def show_exports(console: Console, exports: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Artifacts as (format, folder, content of parity.json), with what the gate measured."""
    columns = ("Format", "Largest logit difference", "Same top token", "Same answer", "Same ids")
    table, folders = _table(*columns, "Differs from base"), []
    for name, folder, parity in exports:
        table.add_row(
            screen.text(name),
            f"{parity['max_abs_diff']:.2g} (allowed {parity['tolerance']:.2g})",
            f"{parity['argmax_agreement']:.1%}",
            _yes(parity["greedy_equal"]),
            _yes(parity["token_ids_equal"] and parity["chat_ids_equal"]),
            _yes(parity["differs_from_base"]),
        )
        folders.append((name, folder))
    if folders:
        screen.say(console, table, screen.pairs(folders))


def show_checks(console: Console, checks: Sequence[Check]) -> None:
    """What the doctor found: evidence for all, cause and fix for what isn't well."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for check in checks:
        shown = screen.text(check.evidence)
        if check.cause:
            shown.append("\nCause: ", "dim").append(screen.plain(check.cause))
        if check.fix:
            shown.append("\nFix:   ", "dim").append(screen.plain(check.fix))
        table.add_row(Text(check.status, _STATUS[check.status]), screen.text(check.name), shown)
    screen.say(console, table)


def show_times(console: Console, seconds: Mapping[str, float], facts: Mapping[str, str]) -> None:
    """How long the stages took, and what the machine is."""
    parts = [f"{stage} {duration(value)}" for stage, value in seconds.items()]
    rows = [("Time", f"{duration(sum(seconds.values()))} ({', '.join(parts)})")] if parts else []
    screen.say(console, screen.pairs([*rows, *facts.items()]))


def memory(count: int) -> str:
    """Bytes of memory for a person."""
    return size(count)


def _in_a_sentence(models: Mapping[str, Mapping[str, Any]], rows: int) -> str:
    tuned, base = models["Tuned"], models.get("Base")
    if "accuracy" in tuned:
        before = f"; the base model of {base['accuracy']:.1%}" if base else ""
        return f"The tuned model is right about {tuned['accuracy']:.1%} of {rows:,} rows{before}."
    before = f"; before training it was {base['loss']:.3f}" if base else ""
    return f"The loss on {rows:,} rows is {tuned['loss']:.3f} nats per answer token{before}."


def _show_labels(console: Console, models: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    columns = ["Label", "Rows"]
    for name, _ in models:
        columns += [f"{name}: precision", "recall", "F1"]
    table = _table(*columns)
    for label, tuned in models[-1][1]["per_class"].items():
        figures = [one["per_class"][label] for _, one in models]
        cells = [f"{one[key]:.3f}" for one in figures for key in ("precision", "recall", "f1")]
        table.add_row(screen.text(label, lines=False), f"{tuned['support']:,}", *cells)
    screen.say(console, table)
    labels = models[-1][1]["confusion"]["labels"]
    if len(labels) > _LARGEST_MATRIX:
        screen.say(console, f"The confusion of {len(labels)} labels is in report.md.")
        return
    columns = ["Right label"]
    for name, _ in models:
        columns += [screen.plain(f"{name}: {label}", lines=False) for label in labels]
    table = _table(*columns)
    for index, label in enumerate(labels):
        counts = [one["confusion"]["counts"][index] for _, one in models]
        table.add_row(screen.text(label, lines=False), *(f"{n:,}" for row in counts for n in row))
    screen.say(console, table)


def _answer(answer: Mapping[str, Any], expected: str) -> Text:
    """What a model said; in a classification first the label that it finds most probable."""
    shown = Text()
    if "predicted" in answer:
        right = answer["predicted"] == expected
        shown.append(screen.plain(answer["predicted"], lines=False), "green" if right else "red")
        shown.append(f" with confidence {answer['confidence']:.2f}; it wrote: ", "dim")
    shown.append_text(_excerpt(answer["text"]))
    return shown.append(" [cut off]" if answer["stop_reason"] == "length" else "", "dim")


def _excerpt(value: str) -> Text:
    return screen.text(screen.short(value, _LONGEST_ANSWER) or "(nothing)")


def _rows(report: DataReport) -> str:
    parts = {"to learn from": report.train, "to choose the best step": report.validation}
    parts["held back for the report"] = report.test
    return f"{report.rows:,}: " + ", ".join(f"{count:,} {what}" for what, count in parts.items())


def _attention(report: DataReport) -> str:
    are = "is" if report.left_out == 1 else "are"
    left_out = f"; {report.left_out:,} more {are} left out" if report.left_out else ""
    return f"{report.attention:,} of {report.total:,} rows{left_out}"


def _places(item: Finding) -> list[str]:
    """Where the rows stand, each with the one that it repeats."""
    same_as = item.same_as or ("",) * len(item.where)
    pairs = zip(item.where, same_as, strict=True)
    return [f"{place} (as {first})" if first else place for place, first in pairs]


def _tokens(found: Mapping[str, float]) -> str:
    return (
        f"{found['total']:,.0f} in all, {found['supervised_share']:.1%} of them learned; "
        f"a row has {found['median']:,.0f} (median), {found['p95']:,.0f} (95 %), "
        f"{found['longest']:,.0f} (longest); {found['over_limit']:,.0f} rows over the limit"
    )


def _yes(value: bool | None) -> Text:
    if value is None:
        return Text("-", "dim")
    return Text("yes", "green") if value else Text("no", "yellow")


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table

"""The run's tabs: what it learns, the machine, samples, and the log; built when first looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.run_folder import RunFolder

from ...identity.access import Action
from ...live.broadcast import LiveRun
from ...live.run_state import SMOOTH_LOSS, Mark, RunState
from ...live.trend import trend_of
from ...reader import Reader
from ...words import data as data_words
from ...words import runs as words
from ..charts import LOGARITHMIC
from ..data.plain import is_remark, plain
from ..live_chart import LineOf, LiveChart
from ..live_news import LiveNews, LiveText
from ..visit import Visit
from ..widgets import card, empty_state, heading, note
from .change import change_in_words
from .log import Log
from .recipe import show_recipe

_GIGA = 1e-9
_REMARKS = 3  # kinds of them, the newest
_MARKS = 5  # steps, the newest
_MOST_COMPARED = 100  # points of a curve that a trend is found in


class Views:
    """The tabs.

    Args:
        visit: The open page.
        folder: The run's folder.
        live: Its events.
        news: What sends the charts what is new.
        recipe: The run's; None if there is none, or it can't be read.
        file_name: What people call the file that the run learns from.
    """

    def __init__(
        self, visit: Visit, folder: RunFolder, live: LiveRun, news: LiveNews,
        recipe: Recipe | None, file_name: str,
    ) -> None:  # fmt: skip
        self._visit, self._folder, self._live, self._state = visit, folder, live, live.state
        self._recipe, self._file_name = recipe, file_name
        self._news, self._charts = news, list[LiveChart]()
        self._confidence: list[str] = []
        self._samples_shown: object = None
        self._remarks_shown = -1
        self._events: Log | None = None
        self._remarks = ui.column().classes("w-full gap-2")
        builders: dict[str, Callable[[], None]] = {
            words.LEARNING: self._learning,
            words.MACHINE: self._machine,
            words.SAMPLES: self._samples,
            words.RECIPE: self._settings,
            words.LOG: self._log,
        }
        built: set[str] = set()
        with ui.tabs().classes("max-w-full") as tabs:
            tabs.props("no-caps align=left inline-label outside-arrows mobile-arrows")
            for name in builders:
                ui.tab(name)
        with ui.tab_panels(tabs, value=words.LEARNING, animated=False, keep_alive=True) as panels:
            panels.classes("w-full bg-transparent").props("keep-alive")
            places = {name: ui.tab_panel(name).classes("p-0") for name in builders}

        def build(name: str) -> None:
            if name not in built:
                built.add(name)
                with places[name], ui.column().classes("w-full gap-4 pt-4"):
                    builders[name]()

        tabs.on_value_change(lambda event: build(event.value))
        build(words.LEARNING)

    def tick(self, state: RunState) -> None:
        """Shows what is new; the charts have it after the next `flush` of the news."""
        self._state = state
        self._show_trend()
        for chart in self._charts:
            chart.tick(state)
        self._show_confidence()
        self._show_samples()
        if self._events is not None:
            self._events.show(state)
        if len(state.remarks) != self._remarks_shown:
            self._remarks_shown = len(state.remarks)
            self._show_remarks()

    def _show_remarks(self) -> None:
        """What may spoil the result is a warning; what was dealt with as asked is only told.

        Of each kind the newest stands here, and how many more the log has.
        """
        kinds: dict[str, list[str]] = {}
        for code, message in dict.fromkeys(self._state.remarks):
            kinds[code] = [*kinds.pop(code, []), message]
        self._remarks.clear()
        with self._remarks:
            for code, messages in list(kinds.items())[-_REMARKS:]:
                told = plain(self._visit.without_paths(messages[-1]), file_name=self._file_name)
                lines = [told.text, data_words.CODES.format(codes=code)]
                if more := len(messages) - 1:
                    text = words.MORE_REMARKS_ONE if more == 1 else words.MORE_REMARKS
                    lines.insert(1, text.format(count=self._visit.reader.number(more)))
                kind = "info" if is_remark(code) else "warning"
                note("\n".join(lines), kind=kind).mark("remark")

    def _learning(self) -> None:
        self._trend = LiveText(self._news).classes("max-w-prose").mark("trend")
        self._marks = LiveText(self._news).classes("gkt-note").mark("marks")
        self._show_trend()
        self._chart(
            words.CHART_LOSS, words.CHART_LOSS_LABEL, words.AXIS_NATS, "loss",
            LineOf("loss", words.TRAINING_LINE),
            LineOf("validation_loss", words.VALIDATION_LINE, points=True),
        )  # fmt: skip
        with ui.element("div").classes("gkt-halves"):
            if len(self._state.curve("accuracy")):
                self._chart(
                    words.CHART_QUALITY, words.CHART_QUALITY_LABEL, words.AXIS_SHARE, "accuracy",
                    LineOf("accuracy", words.ACCURACY_LINE, points=True),
                    LineOf("macro_f1", words.F1_LINE, points=True),
                    is_share=True,
                )  # fmt: skip
            self._confidence_place = ui.column().classes("w-full min-w-0")
        more = ui.expansion(words.MORE_CURVES).classes("w-full gkt-expansion").mark("more-curves")
        more.on_value_change(lambda: self._more_curves(more))

    def _show_trend(self) -> None:
        """Says in a sentence whether it goes well."""
        self._trend.text = self._live.once("trend", lambda: _trend_in_words(self._live))
        reader = self._visit.reader
        self._marks.text = self._live.once(
            ("marks", reader), lambda: _marks_in_words(self._live.state.marks, reader)
        )

    def _more_curves(self, place: ui.expansion) -> None:
        """The curves that few look at, drawn when somebody opens them first."""
        if not place.value or place.default_slot.children:
            return
        with place:
            ui.label(words.CHARTS_HELP).classes("gkt-note")
            if self._visit.may(Action.DOWNLOAD):
                sheet = f"/api/v1/runs/{self._folder.id}/curves.csv"
                ui.link(words.CURVES_SHEET, sheet).props("download")
        with place, ui.element("div").classes("gkt-halves"):
            self._chart(
                words.CHART_SMOOTH, words.CHART_SMOOTH_LABEL, words.AXIS_NATS, "loss",
                LineOf(SMOOTH_LOSS, words.TRAINING_LINE),
                LineOf("validation_loss", words.VALIDATION_LINE, points=True),
                y_axis=LOGARITHMIC,
            )  # fmt: skip
            self._chart(
                words.CHART_PERPLEXITY, words.CHART_PERPLEXITY_LABEL, words.AXIS_PERPLEXITY,
                "perplexity", LineOf("perplexity", words.VALIDATION_LINE, points=True),
            )  # fmt: skip
            self._chart(
                words.CHART_RATE, words.CHART_RATE_LABEL, words.AXIS_RATE, "learning_rate",
                LineOf("learning_rate", words.CHART_RATE), y_axis={"exponentformat": "e"},
            )  # fmt: skip
            self._chart(
                words.CHART_NORM, words.CHART_NORM_LABEL, words.AXIS_NORM, "grad_norm",
                LineOf("grad_norm", words.CHART_NORM),
            )  # fmt: skip

    def _show_confidence(self) -> None:
        """A chart with a line a label, once the labels are known."""
        names = [name for name in self._state.curves if name.startswith("confidence:")]
        if names == self._confidence or not names:
            return
        is_first, self._confidence = not self._confidence, names
        self._confidence_place.clear()
        with self._confidence_place:
            lines = [LineOf(name, name.partition(":")[2], points=True) for name in names]
            self._chart(
                words.CHART_CONFIDENCE, words.CHART_CONFIDENCE_LABEL, words.AXIS_PROBABILITY,
                "confidence", *lines, is_share=True,
            )  # fmt: skip
            if is_first and not any(chart.shows("accuracy") for chart in self._charts):
                self._chart(
                    words.CHART_QUALITY, words.CHART_QUALITY_LABEL, words.AXIS_SHARE, "accuracy",
                    LineOf("accuracy", words.ACCURACY_LINE, points=True),
                    LineOf("macro_f1", words.F1_LINE, points=True),
                    is_share=True,
                )  # fmt: skip

    def _machine(self) -> None:
        with ui.element("div").classes("gkt-halves"):
            self._chart(
                words.CHART_SPEED, words.CHART_SPEED_LABEL, words.AXIS_SPEED, "tokens_per_s",
                LineOf("tokens_per_s", words.CHART_SPEED),
            )  # fmt: skip
            self._chart(
                words.CHART_CPU, words.CHART_CPU_LABEL, words.AXIS_PERCENT, "",
                LineOf("cpu_percent", words.PROCESS_CPU),
                LineOf("machine_cpu_percent", words.MACHINE_CPU),
                LineOf("device_percent", words.DEVICE_LOAD),
                is_time=True,
            )  # fmt: skip
            self._chart(
                words.CHART_MEMORY, words.CHART_MEMORY_LABEL, words.AXIS_GB, "",
                LineOf("rss_bytes", words.PROCESS_MEMORY, scale=_GIGA),
                LineOf("device_bytes", words.DEVICE_MEMORY, scale=_GIGA),
                is_time=True,
            )  # fmt: skip

    def _chart(
        self, title: str, label: str, y: str, term: str, *lines: LineOf,
        is_time: bool = False, is_share: bool = False, y_axis: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        x = words.AXIS_TIME if is_time else words.AXIS_STEP
        with card(title, term=term):
            self._charts.append(
                LiveChart(
                    self._news, self._state, lines, label=label, x=x, y=y,
                    is_time=is_time, is_share=is_share, y_axis=y_axis,
                )
            )  # fmt: skip

    def _samples(self) -> None:
        with ui.column().classes("w-full gap-4") as self._samples_place:
            pass
        self._samples_shown = None
        self._show_samples()

    def _show_samples(self) -> None:
        samples = list(self._state.samples)
        if not hasattr(self, "_samples_place") or samples == self._samples_shown:
            return
        self._samples_shown = samples
        self._samples_place.clear()
        by_prompt: dict[str, list[tuple[int, str]]] = {}
        for sample in samples:
            by_prompt.setdefault(sample.prompt, []).append((sample.step, sample.text))
        with self._samples_place:
            if not by_prompt:
                empty_state("forum", words.NO_SAMPLES_TITLE, words.NO_SAMPLES)
            for prompt, answers in by_prompt.items():
                self._prompt(prompt, answers)

    def _prompt(self, prompt: str, answers: list[tuple[int, str]]) -> None:
        """A prompt with its first and its newest answer side by side, and those between."""
        number = self._visit.reader.number
        with card():
            heading(prompt[:300], level=3).classes("gkt-multiline")
            shown = [answers[0]] if len(answers) == 1 else [answers[0], answers[-1]]
            titles = (words.FIRST_ANSWER, words.LAST_ANSWER)
            with ui.element("div").classes("gkt-halves"):
                for title, (step, text) in zip(titles, shown, strict=False):
                    with ui.column().classes("gap-1 min-w-0"):
                        at = words.SAMPLE_AT.format(step=number(step))
                        ui.label(f"{title} \u00b7 {at}").classes("gkt-label")
                        ui.label(text).classes("gkt-multiline")
            if len(answers) > 2:
                with ui.expansion(words.SAMPLES).classes("w-full"):
                    for step, text in answers[1:-1]:
                        ui.label(words.SAMPLE_AT.format(step=number(step))).classes("gkt-label")
                        ui.label(text).classes("gkt-multiline mb-2")

    def _settings(self) -> None:
        show_recipe(self._visit, self._folder, self._recipe)

    def _log(self) -> None:
        self._events = Log(self._visit, self._folder.id, self._state, self._file_name)


def _trend_in_words(live: LiveRun) -> str:
    curves = [
        live.state.curve(name).spread(_MOST_COMPARED)
        for name in ("loss", "validation_loss", "accuracy")
    ]
    has_ended = not live.standing.is_at_work and live.standing.job is None
    texts = words.TRENDS_ENDED if has_ended else words.TRENDS
    return texts[trend_of(*curves, passes=live.state.epoch)]


def _marks_in_words(marks: Sequence[Mark], reader: Reader) -> str:
    """What the dotted lines of the charts mean, the newest last."""
    by_step: dict[int, list[str]] = {}
    for mark in marks:
        change = change_in_words(mark.text, mark.value, reader) if mark.kind == "set" else ""
        said = words.MARKS[mark.kind].format(text=mark.text, change=change)
        by_step.setdefault(mark.step, []).append(said)
    told = [
        words.MARKED_AT.format(step=reader.number(step), what=", ".join(dict.fromkeys(texts)))
        for step, texts in list(by_step.items())[-_MARKS:]
    ]
    return words.MARKED.format(marks="; ".join(told)) if told else ""

"""Ask the model before and after its training, side by side, and see how sure it was."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from nicegui import Client, background_tasks, ui

from gemma_keras_tune.errors import TuneError

from ...api.asking import Asking
from ...api.jobs import cancel_job, find, folder_of_job, result_of
from ...api.run_rows import folder_of, run_row
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...jobs.job import Job
from ...jobs.tail import Tail
from ...words import playground as words
from ..frame import page
from ..run_tabs import run_tabs
from ..visit import Visit
from ..widgets import card, empty_state, explain, heading, labelled, note, primary, secondary
from .questions import Questions, Suggestions, questions_of
from .said import Said

_LOOK_S = 0.25
_ALTERNATIVES = 5
# Name: (label, term, default, lowest, highest, step)
_SETTINGS: Mapping[str, tuple[str, str, float | None, float, float, float]] = {
    "temperature": (words.TEMPERATURE, "temperature", 0.0, 0, 10, 0.1),
    "top_k": (words.TOP_K, "top_k", None, 1, 1000, 1),
    "top_p": (words.TOP_P, "top_p", None, 0.01, 1, 0.05),
    "max_tokens": (words.MAX_TOKENS, "token", 128, 1, 2048, 1),
    "seed": (words.SEED, "seed", 0, 0, 2**32 - 1, 1),
}
_WHOLE = ("top_k", "max_tokens", "seed")


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/runs/{run_id}/playground", title=words.TITLE, needs=Action.VIEW_RUNS, wide=True)
    async def show(visit: Visit, run_id: str) -> None:
        asked = visit.asked(Action.VIEW_RUNS)
        row = await run_row(asked.rows, run_id)
        run_tabs(visit, row, at="/playground")
        folder = folder_of(asked.root, run_id)
        if not await asyncio.to_thread(folder.adapter.is_dir):
            empty_state("forum", words.NOT_TRAINED_TITLE, words.NOT_TRAINED)
            return
        visit.asked(Action.SUBMIT_GENERATE)
        _Playground(visit, run_id, await questions_of(folder))


class _Playground:
    """The page's parts."""

    def __init__(self, visit: Visit, run_id: str, questions: Questions) -> None:
        self._visit, self._questions = visit, questions
        with card():
            self._prompt = ui.textarea(questions.asks_for)
            self._prompt.props("outlined autogrow maxlength=20000").classes("w-full").mark("prompt")
            Suggestions(self._prompt, questions)
            self._way = self._choice()
            with ui.row().classes("gap-2"):
                self._ask = primary(words.ASK, visit.tells(self._begin), icon="send").mark("ask")
                self._stop = secondary(words.STOP, visit.tells(self._end), icon="stop")
            self._stop.set_visibility(False)
            with ui.expansion(words.SETTINGS).classes("w-full gkt-expansion"):
                ui.label(words.SETTINGS_TEXT).classes("gkt-soft max-w-prose mb-3")
                self._settings = self._fields()
        with ui.element("div").classes("gkt-halves"):
            self._answers = [
                _Answer(visit, run_id, title, base=base)
                for title, base in ((words.TUNED, False), (words.BASE, True))
            ]
        with ui.column().classes("gap-0"):
            labelled(words.CHANCES, term="token_probability")
            ui.label(words.HOVER).classes("gkt-note max-w-prose")

    def _choice(self) -> ui.radio:
        """In which way the prompt is given, and what that means."""
        ways = self._questions.ways
        with ui.column().classes("w-full gap-1"):
            radio = ui.radio(ways, value=next(iter(ways))).mark("way")
            radio.props(f'inline role=radiogroup aria-label="{words.WAY}"').classes("-ml-2")
            text = ui.label().classes("gkt-note max-w-prose")
            whole = ui.label().classes("gkt-note gkt-multiline gkt-quote").props("tabindex=0")
            whole.mark("as-read")

        def show() -> None:
            text.text = self._questions.about(radio.value)
            text.set_visibility(bool(text.text))
            whole.text = self._questions.shown_with(self._prompt.value or "")
            whole.set_visibility(radio.value == "trained")

        radio.on_value_change(show)
        self._prompt.on_value_change(show)
        show()
        return radio

    def _fields(self) -> dict[str, ui.number]:
        fields = {}
        with ui.element("div").classes("gkt-fields"):
            for name, (label, term, value, lowest, highest, step) in _SETTINGS.items():
                with ui.row().classes("items-start no-wrap gap-1"):
                    field = ui.number(label, value=value, min=lowest, max=highest, step=step)
                    field.props("outlined dense stack-label").classes("flex-1 min-w-0")
                    field.mark(f"set-{name}")._props["hint"] = words.HINTS[name]
                    if value is None:
                        field.props(f'placeholder="{words.NONE}" clearable')
                    explain(term)
                fields[name] = field
        return fields

    async def _begin(self) -> None:
        prompt = (self._prompt.value or "").strip()
        if not prompt:
            raise TuneError(words.EMPTY, code="PROMPT_EMPTY")
        args: dict[str, Any] = {"alternatives": _ALTERNATIVES, **_given(prompt, self._way.value)}
        for name, field in self._settings.items():
            if field.value is not None:
                args[name] = int(field.value) if name in _WHOLE else float(field.value)
        self._ask.set_enabled(False)
        try:
            for answer in self._answers:
                await answer.ask(args)
        except TuneError:
            self._ask.set_enabled(True)
            raise
        self._stop.set_visibility(True)
        background_tasks.create(self._until_done(), name="playground")

    async def _until_done(self) -> None:
        await asyncio.gather(*(answer.follow() for answer in self._answers))
        if self._visit.client.id in Client.instances:
            self._ask.set_enabled(True)
            self._stop.set_visibility(False)

    async def _end(self) -> None:
        for answer in self._answers:
            await answer.cancel()


def _given(prompt: str, way: str) -> dict[str, Any]:
    """A prompt as a job of the kind `generate` takes it."""
    if way == "trained":
        return {"prompt": prompt}
    if way == "text":
        return {"text": prompt}
    return {"messages": [{"role": "user", "content": prompt}]}


class _Answer:
    """One model's answer, as it is written and when it is done."""

    def __init__(self, visit: Visit, run_id: str, title: str, *, base: bool) -> None:
        self._visit, self._run_id, self._base, self._title = visit, run_id, base, title
        self._job: Job | None = None
        with ui.column().classes("gkt-card min-w-0"):
            heading(title, level=2)
            self._state = ui.label().classes("gkt-note").props("role=status")
            self._text = ui.label().classes("gkt-multiline").mark("base" if base else "tuned")
            self._place = ui.element("div").classes("w-full")

    async def ask(self, args: Mapping[str, Any]) -> None:
        """Submits the job."""
        asked = self._visit.asked(Action.SUBMIT_GENERATE)
        wanted = Wanted(kind="generate", run=self._run_id, args={**args, "base": self._base})
        self._job, _ = await submit(asked, wanted)
        self._place.clear()
        self._text.text, self._state.text = "", words.WAITING
        self._text.set_visibility(True)

    async def cancel(self) -> None:
        """Stops it, if it hasn't ended."""
        if self._job is not None:
            await cancel_job(self._visit.asked(Action.CANCEL_JOB), self._job.id)

    async def follow(self) -> None:
        """Shows what is written until it is done."""
        asked = await self._visit.asked_now(Action.VIEW_JOBS)
        job = self._job
        if job is None:
            return
        tail = Tail(folder_of_job(asked, job.id).events)
        while not job.has_ended and self._visit.client.id in Client.instances:
            await asyncio.sleep(_LOOK_S)
            if job.started_at is not None and self._state.text == words.WAITING:
                self._state.text = words.LOADING
            self._hear(await asyncio.to_thread(tail.read))
            job = await find(asked, job.id)
        if self._visit.client.id in Client.instances:
            await self._finish(asked, job)

    def _hear(self, lines: list[Any]) -> None:
        for line in lines:
            if line.kind == "answer_text":
                self._text.text = str(line.fields.get("text", ""))
                self._state.text = words.WRITING

    async def _finish(self, asked: Asking, job: Job) -> None:
        result = await result_of(asked, job)
        if job.state == "cancelled" or result is None:
            self._state.text = words.STOPPED
            return
        with self._place:
            if result.status != "done":
                self._state.text = ""
                note(self._visit.without_paths(result.message), kind="bad")
                return
            value: Any = result.value
            count = self._visit.reader.number(len(value["ids"]))
            reason = words.REASONS.get(value["stop_reason"], value["stop_reason"])
            self._state.text = words.DONE.format(tokens=count, reason=reason)
            self._text.text = value["text"]
            tokens = value.get("tokens")
            self._text.set_visibility(not tokens)
            if tokens:
                Said(tokens, self._visit.reader.percent, self._title)

"""The buttons of a run: what a working one can be asked, and how an ended one goes on."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.recipe_files import load_recipe

from ...api.jobs import cancel_job, resume_job
from ...api.run_rows import folder_of
from ...api.runs import NewCommand, control_run
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...jobs.job import Job
from ...live.broadcast import LiveRun
from ...live.run_state import TRAINING
from ...words import common
from ...words import runs as words
from ..data.remedies import is_lasting
from ..visit import Visit
from ..widgets import confirm, heading, link_button, primary, secondary
from .change import ask_for_change, change_in_words

_RESUMABLE = ("stopped", "failed", "died")
_ONWARD = (
    ("result", words.SEE_RESULT, "fact_check"),
    ("playground", words.TRY_IT, "forum"),
    ("table", words.TABLE, "table_chart"),
    ("export", words.EXPORT_IT, "download"),
)


class Controls:
    """The row of buttons; each is there only when it does something.

    Args:
        visit: The open page.
        run_id: The run.
        live: Its events, which answer what was asked.
    """

    def __init__(self, visit: Visit, run_id: str, live: LiveRun) -> None:
        self._visit, self._run_id, self._live = visit, run_id, live
        self._job: Job | None = None
        self._told: str | None = None
        self._shown: object = None
        tells = visit.tells
        self._row = ui.row().classes("w-full gap-2 items-center")
        with self._row:
            self._pause = secondary(words.PAUSE, tells(lambda: self._send("pause")), icon="pause")
            self._go_on = primary(
                words.RESUME, tells(lambda: self._send("resume")), icon="play_arrow"
            )
            self._ask = secondary(words.SAMPLE, tells(self._sample), icon="forum")
            self._save = secondary(
                words.CHECKPOINT, tells(lambda: self._send("checkpoint")), icon="save"
            )
            self._change = secondary(words.CHANGE, tells(self._set), icon="tune")
            self._finish = secondary(words.FINISH, tells(self._finish_now), icon="flag")
            self._stop = secondary(words.STOP, tells(self._stop_now), icon="stop")
            self._cancel = secondary(words.CANCEL_JOB, tells(self._cancel_job), icon="close")
            self._resume = primary(words.RESUME_RUN, tells(self._resume_run), icon="play_arrow")
            self._again = link_button(
                words.CHANGE_SETTINGS, f"/configure?run={run_id}", icon="tune"
            )
            self._again.props("outline").mark("control-again")
            with self._again:
                ui.tooltip(words.CHANGE_SETTINGS_HINT)
            self._onward = [
                link_button(name, f"/runs/{run_id}/{path}", icon=icon).mark(f"onward-{path}")
                for path, name, icon in _ONWARD
            ]
            for button in self._onward[1:]:
                button.props("outline")
        for button, mark in (
            (self._pause, "pause"), (self._go_on, "resume"), (self._ask, "sample"),
            (self._save, "checkpoint"), (self._change, "set"), (self._finish, "finish"),
            (self._stop, "stop"), (self._cancel, "cancel"), (self._resume, "go-on"),
        ):  # fmt: skip
            button.mark(f"control-{mark}")

    def show(self, row_state: str, *, job: Job | None, is_at_work: bool) -> None:
        """Shows the buttons that do something now."""
        self._job = job
        self._tell_refused()
        state, may = self._live.state, self._visit.may
        asked_by = (
            *(row_state, job, is_at_work, state.stage, state.is_paused, bool(state.step)),
            state.code,
            self._visit.principal,
        )
        if asked_by == self._shown:
            return
        self._shown = asked_by
        trains = is_at_work and may(Action.CONTROL_RUN) and state.stage in (*TRAINING, "", "model")
        self._pause.set_visibility(trains and not state.is_paused)
        self._go_on.set_visibility(trains and state.is_paused)
        for button in (self._ask, self._save, self._change, self._finish):
            button.set_visibility(trains)
        self._stop.set_visibility(is_at_work and may(Action.CONTROL_RUN))
        waits = job is not None and not is_at_work
        rests = job is not None and waits and job.state == "paused"  # stopped, with a checkpoint
        self._cancel.set_visibility(waits and may(Action.CANCEL_JOB))
        ended = rests or (row_state in _RESUMABLE and job is None and not is_at_work)
        is_lost = row_state == "failed" and is_lasting(state.code)  # as its recipe stays as it is
        self._resume.set_visibility(ended and not is_lost and may(Action.SUBMIT_TRAIN))
        self._resume.text = words.RESUME_RUN if state.step or rests else words.TRY_AGAIN
        self._again.set_visibility((ended or waits) and may(Action.SUBMIT_TRAIN))
        named = words.CHANGE_SETTINGS if ended else words.ANOTHER
        self._again.text = words.REPAIR_DATA if is_lost else named
        self._again.props("" if is_lost else "outline", remove="outline" if is_lost else "")
        for button in self._onward:
            button.set_visibility(row_state == "done" and job is None and not is_at_work)
        buttons = self._row.default_slot.children
        self._row.set_visibility(any(button.visible for button in buttons))

    def _tell_refused(self) -> None:
        state = self._live.state
        if state.refused is not None and state.refused[0] == self._told:
            reason = self._visit.without_paths(state.refused[1])
            ui.notify(words.REFUSED.format(reason=reason), type="warning", multi_line=True)
            self._told = None

    async def _send(self, command: str, *, key: str | None = None, value: Any = None) -> None:
        asked = self._visit.asked(Action.CONTROL_RUN)
        new = NewCommand(command=command, key=key, value=value)
        self._told = (await control_run(asked, self._run_id, new)).id
        said = words.SENT[command]
        if key is not None:
            said = said.format(change=change_in_words(key, value, self._visit.reader))
        ui.notify(said)

    async def _sample(self) -> None:
        with ui.dialog() as dialog, ui.card().classes("gkt-dialog"):
            heading(words.SAMPLE_TITLE, level=2)
            prompt = ui.textarea(words.SAMPLE_PROMPT).props("outlined autofocus maxlength=20000")
            prompt.props(f'hint="{words.SAMPLE_HINT}"').classes("w-full")
            _answers(dialog, words.ASK)
        if await _said_yes(dialog):
            await self._send("sample", value=prompt.value.strip() or None)

    async def _set(self) -> None:
        chosen = await ask_for_change(self._visit.reader, self._now)
        if chosen is not None:
            await self._send("set", key=chosen[0], value=chosen[1])

    def _now(self, key: str) -> Any:
        """What a setting is now.

        Raises:
            KeyError: If the recipe can't be read.
        """
        state = self._live.state
        if key in state.changed:
            return state.changed[key]
        if key == "end_step":
            return state.total_steps
        root = self._visit.parts.settings.root
        try:
            return getattr(load_recipe(folder_of(root, self._run_id).recipe_json).train, key)
        except RecipeError:  # of another version
            raise KeyError(key) from None

    async def _finish_now(self) -> None:
        if await confirm(words.FINISH_TITLE, words.FINISH_TEXT, yes=words.FINISH):
            last = self._live.state.step + 1
            await self._send("set", key="end_step", value=last)

    async def _stop_now(self) -> None:
        if await confirm(words.STOP_TITLE, words.STOP_TEXT, yes=words.STOP):
            await self._send("stop")

    async def _cancel_job(self) -> None:
        job = self._job
        if job is not None and await confirm(
            words.CANCEL_TITLE, words.CANCEL_TEXT, yes=words.CANCEL_JOB
        ):
            await cancel_job(self._visit.asked(Action.CANCEL_JOB), job.id)

    async def _resume_run(self) -> None:
        if self._job is not None:
            await resume_job(self._visit.asked(Action.RESUME_JOB), self._job.id)
        else:
            asked = self._visit.asked(Action.SUBMIT_TRAIN)
            await submit(asked, Wanted(kind="train", run=self._run_id, args={}))
        ui.notify(words.GOES_ON)


def _answers(dialog: ui.dialog, yes: str) -> None:
    with ui.row().classes("w-full justify-end gap-2"):
        ui.button(common.CANCEL, on_click=lambda: dialog.submit(False)).props("flat no-caps")
        primary(yes, lambda: dialog.submit(True)).mark("dialog-yes")


async def _said_yes(dialog: ui.dialog) -> bool:
    answer = bool(await dialog)
    dialog.delete()
    return answer

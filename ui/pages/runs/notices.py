"""The browser's own notification when a run ends, for those who ask for it."""

from __future__ import annotations

from nicegui import ui

from ...words import home as states
from ...words import runs as words

_ENDS = ("done", "stopped", "failed", "died")
# The text is read off the page: a script is never made of what somebody wrote. It waits until the
# page has the text.
_TELL = "setTimeout(() => new Notification(document.querySelector('.gkt-notice').textContent), 300)"
_ASK = "return 'Notification' in window ? await Notification.requestPermission() : 'denied'"


class Notices:
    """A button, and what it asked for.

    Args:
        name: What the run is called.
    """

    def __init__(self, name: str) -> None:
        self._name, self._is_wanted, self._before = name, False, ""
        self._button = ui.button(words.NOTIFY, icon="notifications", on_click=self._ask)
        self._button.props("flat no-caps color=primary").mark("notify")
        self._text = ui.label().classes("gkt-notice hidden").props("aria-hidden=true")

    def show(self, state: str) -> None:
        """Tells of an end that wasn't there before."""
        ended = state in _ENDS
        if ended and self._is_wanted and self._before not in (*_ENDS, ""):
            told = words.ENDED_NOTICE.format(name=self._name, state=states.STATES[state])
            self._text.text = told
            ui.run_javascript(_TELL)
        self._before = state
        self._button.set_visibility(not ended and not self._is_wanted)

    async def _ask(self) -> None:
        answer = await ui.run_javascript(_ASK, timeout=60.0)
        self._is_wanted = answer == "granted"
        ui.notify(words.NOTIFY_ON if self._is_wanted else words.NOTIFY_NO)

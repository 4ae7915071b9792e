"""What is new on one page, which is sent in one message however much it is: each has its price."""

from __future__ import annotations

from typing import Any

from nicegui import ui


class LiveNews(ui.element, component="live_news.js"):
    """Collects calls of methods in the browser until they are sent."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[list[Any]] = []

    def call(
        self, element: ui.element, method: str, *args: Any, drawing: int | None = None
    ) -> None:
        """Calls a method of an element in the browser, at the next `flush`.

        Args:
            element: The element.
            method: The method.
            args: Its arguments.
            drawing: Which drawing of a chart it is meant for: the browser leaves it out if the
                chart's `layout.meta` is another.
        """
        which = [] if drawing is None else [drawing]
        self._calls.append([element.id, method, args, *which])

    def drop(self) -> None:
        """Forgets what was collected: the page that is about to be sent has it."""
        self._calls = []

    def flush(self) -> None:
        """Sends what was collected."""
        if self._calls:
            self.run_method("pass", self._calls)
            self._calls = []


class LiveText(ui.element, component="live_text.js"):
    """A text that changes with the news of its page, not by a message of its own.

    Args:
        news: What sends it.
        text: The text to begin with.
    """

    def __init__(self, news: LiveNews, text: str = "") -> None:
        super().__init__()
        self._news = news
        self.props["text"] = text

    @property
    def text(self) -> str:
        """What it says; once set, the browser has it after the next `flush` of the news."""
        return str(self.props["text"])

    @text.setter
    def text(self, text: str) -> None:
        _put(self, self._news, "text", text)


class LiveBar(ui.element, component="live_bar.js"):
    """A bar that is as long as a share, and changes with the news of its page.

    Args:
        news: What sends it.
        label: What it shows, for screen readers.
    """

    def __init__(self, news: LiveNews, label: str) -> None:
        super().__init__()
        self._news = news
        self.props.update(value=0.0, label=label)

    @property
    def value(self) -> float:
        """The share, between 0 and 1; once set, the browser has it after the next `flush`."""
        return float(self.props["value"])

    @value.setter
    def value(self, value: float) -> None:
        _put(self, self._news, "value", value)


def _put(element: ui.element, news: LiveNews, prop: str, value: object) -> None:
    """Keeps a prop, in case that the element is sent as a whole, and tells it with the news."""
    if element.props[prop] != value:
        # Past the observer, which would send the element as a whole; keeping it still for a moment
        # costs more than all the rest of a page's news.
        dict.__setitem__(element.props, prop, value)
        news.call(element, "show", value)

"""What is new on a page: sent in one message, and kept for whoever is sent the whole element."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune_ui.pages.live_news import LiveBar, LiveNews, LiveText

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_texts_and_bars_go_in_one_message_and_only_when_they_change(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ann.open("/help")
    with ann:
        news = LiveNews()
        text, bar = LiveText(news, "before"), LiveBar(news, "Progress")
    sent: list[Any] = []
    updated: list[ui.element] = []
    monkeypatch.setattr(news, "run_method", lambda *call: sent.append(call))
    monkeypatch.setattr(ui.element, "update", lambda element: updated.append(element))
    text.text, bar.value = "after", 0.5
    assert sent == [] and text.text == "after"
    news.flush()
    assert sent == [("pass", [[text.id, "show", ("after",)], [bar.id, "show", (0.5,)]])]
    text.text, bar.value = "after", 0.5
    news.flush()
    assert len(sent) == 1, "what the browser has already is not sent again"
    assert updated == [], "nothing is sent by an update of its own"
    assert (text.props["text"], bar.props["value"]) == ("after", 0.5), "for a whole update"
    await ann.should_see("after")
    news.call(bar, "run_plot_method", "redraw", drawing=7)
    news.flush()
    assert sent[1:] == [("pass", [[bar.id, "run_plot_method", ("redraw",), 7]])]
    bar.value = 0.75
    news.drop()
    news.flush()
    assert len(sent) == 2 and bar.props["value"] == 0.75

"""Charts that are appended to: what is sent, and when they are drawn anew."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI
from nicegui.testing import User

from gemma_keras_tune_ui.live.run_state import Mark, RunState
from gemma_keras_tune_ui.pages.live_chart import LineOf, LiveChart, _marked
from gemma_keras_tune_ui.pages.live_news import LiveNews

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Sent(list[tuple[str, Any]]):
    """What a chart has told the browser.

    Attributes:
        drawing: Which drawing the last of it was meant for.
    """

    drawing = -1


@pytest_asyncio.fixture(loop_scope="module")
async def chart(app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A chart of one line with three points on a page, its state, and what it sends."""
    state, sent = RunState(), Sent()
    for step in (1, 2, 3):
        state.curve("loss").add(step, 1.0 / step)
    await ann.open("/help")
    with ann:
        news = LiveNews()
        made = LiveChart(news, state, [LineOf("loss", "Training")], label="l", x="x", y="y")

    def call(plot: Any, _: str, name: str, *args: Any, drawing: int) -> None:
        sent.append((name, args))
        sent.drawing = drawing

    monkeypatch.setattr(news, "call", call)
    return made, state, sent


async def test_what_is_known_stands_in_the_figure_and_the_rest_waits_for_the_plot(
    chart: Any,
) -> None:
    made, state, sent = chart
    assert made.plot.figure["data"][0]["x"] == [1, 2, 3]
    state.curve("loss").add(4, 0.25)
    made.tick()
    assert sent == [], "the browser has not drawn it yet: what is sent now would be lost"
    made._plotted(0)
    assert sent == [("extendTraces", ({"x": [[4]], "y": [[0.25]]}, [0]))]
    made.tick()
    assert len(sent) == 1, "nothing is sent twice"


async def test_steps_that_are_done_again_draw_it_anew(chart: Any) -> None:
    made, state, sent = chart
    made._plotted(0)
    state.curve("loss").cut_after(1)
    state.curve("loss").add(2, 9.0)
    made.tick()
    assert sent == [] and made.plot.figure["data"][0]["y"] == [1.0, 9.0]
    made._plotted(0)
    made.tick()
    assert sent == [], "what the browser said of the old drawing says nothing of the new one"
    made._plotted(1)
    state.curve("loss").add(3, 8.0)
    made.tick()
    assert sent == [("extendTraces", ({"x": [[3]], "y": [[8.0]]}, [0]))]
    assert sent.drawing == 1


async def test_a_drawing_of_which_nothing_is_heard_is_sent_anew_once_there_is_more_to_show(
    chart: Any,
) -> None:
    made, state, sent = chart
    made._drawn_at -= 5.0
    made.tick()
    assert made._drawing == 0, "it has all there is"
    state.curve("loss").add(4, 0.25)
    made._drawn_at += 2.0
    made.tick()
    assert made._drawing == 0, "the browser may still come to it"
    made._drawn_at -= 2.0
    made.tick()
    assert made._drawing == 1 and made.plot.figure["data"][0]["x"] == [1, 2, 3, 4]
    state.curve("loss").add(5, 0.2)
    made._drawn_at -= 5.0
    made.tick()
    assert made._drawing == 1, "the second time is waited for twice as long"
    made._plotted(1)
    assert sent == [("extendTraces", ({"x": [[5]], "y": [[0.2]]}, [0]))]


async def test_an_old_drawing_that_came_after_the_new_one_is_drawn_over(chart: Any) -> None:
    made, state, _ = chart
    made._plotted(0)
    state.curve("loss").cut_after(1)
    made.tick()
    made._plotted(1)
    made._plotted(1)
    assert made._drawing == 1
    made._plotted(0)
    assert made._drawing == 2


async def test_a_long_curve_is_thinned_out_when_too_much_was_appended(chart: Any) -> None:
    made, state, sent = chart
    made._plotted(0)
    for step in range(4, 5000):
        state.curve("loss").add(step, float(step % 7))
    made.tick()
    drawn = made.plot.figure["data"][0]["x"]
    assert len(drawn) <= 1000 and (drawn[0], drawn[-1]) == (1, 4999) and sent == []


async def test_marks_at_one_step_share_a_line() -> None:
    marks = [Mark(4, "pause", ""), Mark(4, "set", "patience", 1), Mark(9, "resume", "")]
    assert [shape["x0"] for shape in _marked(marks)["shapes"]] == [4, 9]


async def test_shares_are_drawn_from_0_to_100_percent(ann: User) -> None:
    state = RunState()
    state.curve("accuracy").add(3, 1.0)
    await ann.open("/help")
    with ann:
        line = LineOf("accuracy", "Accuracy")
        made = LiveChart(LiveNews(), state, [line], label="l", x="x", y="y", is_share=True)
    axis = made.plot.figure["layout"]["yaxis"]
    assert axis["range"] == [-0.02, 1.04] and axis["tickformat"] == ".0%"

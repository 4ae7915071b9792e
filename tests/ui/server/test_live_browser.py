"""A real Chromium at the page of a run that is at work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gemma_keras_tune.event_types import Note, RunStarted, StageStarted, Step
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune.run_folder import new_run, open_for_writing
from tests.support.app_server import AppServer, make_administrator

from .test_browser import (  # noqa: F401  # fixtures
    DESK,
    PHONE,
    axe,
    chromium,
    complaints,
    page,
    server,
    sign_in,
    violations,
)
from .test_walk import steps_drawn, wait_for_steps

pytestmark = pytest.mark.slow

TOTAL = 1000
CHARTS = 4  # on the first tab of a run of which no label was measured
LEAVE = "() => socket.disconnect()"
# What socket.io does by itself when a connection breaks: the page goes on from what it has.
COME_BACK = """() => {
  socket.io.opts.query.next_message_id = nextMessageId;
  socket.connect();
}"""
ENDS_AT = """step => {
  const plots = [...document.querySelectorAll('.js-plotly-plot')];
  const plot = plots.find(one => one.data && one.data[0].name === 'Training');
  return plot && plot.data[0].x.at(-1) === step;
}"""
FILLS_ITS_PLACE = """() => {
  const drawn = [...document.querySelectorAll('.js-plotly-plot .main-svg:first-child')];
  const gap = one => one.closest('.js-plotly-plot').parentElement.clientWidth - one.clientWidth;
  return drawn.length > 0 && drawn.every(one => Math.abs(gap(one)) < 2);
}"""
PART = """() => [...document.querySelectorAll('.js-plotly-plot')]
  .find(one => one.data && one.data[0].name === 'Training').layout.xaxis.range"""
FOLLOWS = """text => {
  const log = document.querySelector('.gkt-log');
  const end = log && log.scrollTop + log.clientHeight;
  return log && log.textContent.trim().endsWith(text) && log.scrollHeight - end < 2;
}"""
MUTE = """() => {
  const emit = socket.emit;
  socket.emit = (name, ...args) => name === "event" ? socket : emit.call(socket, name, ...args);
  window.unmute = () => { socket.emit = emit; };
}"""


@pytest.fixture(scope="module", autouse=True)
def administrator(server: AppServer) -> None:  # noqa: F811
    """Whoever signs in: there for each of these tests, whichever of them runs."""
    make_administrator(server).close()


def step(number: int) -> Step:
    return Step(
        step=number, total_steps=TOTAL, epoch=number / 100, loss=4.0 / number, tokens=8,
        answer_tokens=2, learning_rate=1e-4, grad_norm=1.0, seconds=0.1, tokens_per_s=1234.5,
    )  # fmt: skip


@contextmanager
def run_at_work(server: AppServer, name: str, *, steps: int) -> Iterator[EventWriter]:  # noqa: F811
    """A run of that name that has done so many steps, and what writes down more."""
    folder = new_run(server.root, name)
    folder.recipe_json.write_text(json.dumps({"name": name}))
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
        tell(RunStarted(resumed_from=0))
        tell(StageStarted(stage="training"))
        for number in range(1, steps + 1):
            tell(step(number))
        yield tell


def look_at(page: Any, server: AppServer, name: str, *, steps: int) -> None:  # noqa: F811
    """Goes to that run's page, and waits until its curve has so many steps."""
    page.goto(f"{server.address}/runs")
    page.get_by_role("link", name=name).click()
    wait_for_steps(page, steps)


def length_of_bar(page: Any) -> float:  # noqa: F811
    """Which share of the run it says is done."""
    bar = page.get_by_role("progressbar", name="Progress")
    return float(bar.get_attribute("aria-valuenow"))


def test_figures_bar_and_curves_move_on_and_a_reload_has_all_of_it(
    page: Any,  # noqa: F811
    server: AppServer,  # noqa: F811
    axe: str,  # noqa: F811
) -> None:
    sign_in(page, server.address)
    said: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda one: said.append(str(one))))
    with run_at_work(server, "at work", steps=3) as tell:
        look_at(page, server, "at work", steps=3)
        said.clear()
        for number in range(4, 31):
            tell(step(number))
            page.wait_for_timeout(100)
        wait_for_steps(page, 30)
        page.get_by_text("Step 30 of 1,000").wait_for()
        assert steps_drawn(page) == [float(number) for number in range(1, 31)]
        assert length_of_bar(page) == pytest.approx(30 / TOTAL)
        assert page.get_by_text("0.1333", exact=True).is_visible(), "the loss"
        assert violations(page, axe) == []
        assert complaints(page) == []
        answers = [one for one in said if '["event"' in one]
        assert len(answers) <= CHARTS, "a page says of each drawing that it is there, and no more"
        page.reload()
        wait_for_steps(page, 30)
        tell(step(31))
        wait_for_steps(page, 31)
        assert steps_drawn(page) == [float(number) for number in range(1, 32)]
        page.get_by_text("Step 31 of 1,000").wait_for()
        assert length_of_bar(page) == pytest.approx(31 / TOTAL)


def look_closer(tab: Any) -> None:
    """Draws with the mouse over a part of the first chart, which then shows that part."""
    place = tab.locator(".js-plotly-plot .nsewdrag").first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 90, steps=4)
    tab.mouse.up()
    tab.wait_for_function(f"JSON.stringify(({PART})()) !== '[1,5]'")


def test_steps_that_are_done_again_are_drawn_anew_and_appended_to(
    page: Any,  # noqa: F811
    server: AppServer,  # noqa: F811
) -> None:
    sign_in(page, server.address)
    with run_at_work(server, "again", steps=5) as tell:
        look_at(page, server, "again", steps=5)
        look_closer(page)
        part = page.evaluate(PART)
        tell(RunStarted(resumed_from=2))
        page.get_by_text("Step 2 of 1,000").wait_for()
        for number in range(3, 9):
            tell(step(number))
            page.wait_for_timeout(100)
        wait_for_steps(page, 8)
        assert steps_drawn(page) == [float(number) for number in range(1, 9)]
        assert page.evaluate(PART) == part, "drawn anew, it shows the part that somebody chose"
        assert complaints(page) == []


def test_curves_grow_while_another_tab_is_looked_at(
    page: Any,  # noqa: F811
    server: AppServer,  # noqa: F811
) -> None:
    sign_in(page, server.address)
    with run_at_work(server, "elsewhere", steps=1) as tell:
        look_at(page, server, "elsewhere", steps=1)
        page.get_by_role("tab", name="Samples").click()
        page.get_by_text("Step 1 of 1,000").wait_for()
        for number in range(2, 6):
            tell(step(number))
            page.get_by_text(f"Step {number} of 1,000").wait_for()
        tell(RunStarted(resumed_from=3))
        page.get_by_text("Step 3 of 1,000").wait_for()
        for number in range(4, 9):
            tell(step(number))
            page.get_by_text(f"Step {number} of 1,000").wait_for()
        page.get_by_role("tab", name="Learning").click()
        wait_for_steps(page, 8)
        assert steps_drawn(page) == [float(number) for number in range(1, 9)]
        assert complaints(page) == []


def test_the_log_follows_its_newest_line_unless_somebody_has_scrolled_up(
    page: Any,  # noqa: F811
    server: AppServer,  # noqa: F811
) -> None:
    sign_in(page, server.address)
    with run_at_work(server, "logged", steps=1) as tell:
        for number in range(80):
            tell(Note(message=f"line {number}"))
        look_at(page, server, "logged", steps=1)
        page.get_by_role("tab", name="Log").click()
        page.wait_for_function(FOLLOWS, arg="line 79")
        tell(Note(message="the newest"))
        page.wait_for_function(FOLLOWS, arg="the newest")
        page.get_by_role("log").first.evaluate("log => { log.scrollTop = 0; }")
        page.wait_for_timeout(200)
        tell(Note(message="one more"))
        page.get_by_text("one more").wait_for(state="attached")
        assert page.get_by_role("log").first.evaluate("log => log.scrollTop") == 0
        assert complaints(page) == []


def test_charts_are_as_wide_as_their_place_also_after_they_were_hidden(
    page: Any,  # noqa: F811
    server: AppServer,  # noqa: F811
) -> None:
    sign_in(page, server.address)
    with run_at_work(server, "turned", steps=3):
        look_at(page, server, "turned", steps=3)
        page.wait_for_function(FILLS_ITS_PLACE)
        page.set_viewport_size(PHONE)
        page.wait_for_function(FILLS_ITS_PLACE)
        page.get_by_role("tab", name="Log").click()
        page.wait_for_timeout(500)  # a hidden chart is left alone
        page.set_viewport_size(DESK)
        page.get_by_role("tab", name="Machine").click()
        page.wait_for_function(FILLS_ITS_PLACE)
        page.get_by_role("tab", name="Learning").click()
        page.wait_for_function(FILLS_ITS_PLACE)
        assert complaints(page) == []


def test_what_waited_for_a_connection_is_not_appended_to_a_newer_drawing(
    page: Any,  # noqa: F811
    server: AppServer,  # noqa: F811
) -> None:
    sign_in(page, server.address)
    with run_at_work(server, "away", steps=3) as tell:
        look_at(page, server, "away", steps=3)
        tell(step(4))
        wait_for_steps(page, 4)
        page.evaluate(LEAVE)
        for number in range(5, 8):
            tell(step(number))
            page.wait_for_timeout(500)  # each is heard of, and waits to be sent
        tell(RunStarted(resumed_from=5))
        page.wait_for_timeout(1000)
        page.evaluate(COME_BACK)
        page.get_by_text("Step 5 of 1,000").wait_for()
        for number in range(6, 10):
            tell(step(number))
            page.wait_for_timeout(100)
        page.wait_for_function(ENDS_AT, arg=9)
        assert steps_drawn(page) == [float(number) for number in range(1, 10)]
        assert complaints(page) == []


def test_a_curve_goes_on_although_the_browser_s_word_of_its_drawing_was_lost(
    page: Any,  # noqa: F811
    server: AppServer,  # noqa: F811
) -> None:
    sign_in(page, server.address)
    with run_at_work(server, "unheard", steps=3) as tell:
        look_at(page, server, "unheard", steps=3)
        page.evaluate(MUTE)
        tell(RunStarted(resumed_from=2))
        # If already the word of the first drawing was lost, a page looks again after half a minute.
        page.wait_for_function(ENDS_AT, arg=2, timeout=60_000)
        page.wait_for_timeout(500)  # it says so, and is not heard
        page.evaluate("unmute()")
        for number in range(3, 13):
            tell(step(number))
            page.wait_for_timeout(1000)
        page.wait_for_function(ENDS_AT, arg=12)
        assert steps_drawn(page) == [float(number) for number in range(1, 13)]
        assert complaints(page) == []

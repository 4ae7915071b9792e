"""A real Chromium at what came of a run: nothing is cut, nothing complains, for any reader."""

from __future__ import annotations

import json

import pytest

from gemma_keras_tune.evaluation.chance import Comparison
from gemma_keras_tune.evaluation.metrics import classify
from gemma_keras_tune.evaluation.report_values import Answer, Measures, Report, Sample
from gemma_keras_tune.event_types import RunEnded, RunStarted
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune.run_folder import RunFolder, new_run, open_for_writing
from tests.support.app_server import AppServer, make_administrator

from .test_browser import (  # noqa: F401  # fixtures
    DESK,
    PHONE,
    axe,
    chromium,
    complaints,
    fits,
    page,
    server,
    shot,
    sign_in,
    violations,
)
from .test_live_browser import step

pytestmark = pytest.mark.slow

LABELS = tuple(
    f"{name} and all that belongs to it"
    for name in ("Billing", "Delivery", "Returns", "Complaints", "Technical support", "The rest")
)
# Of each name in the matrix: how wide it is, and in how many lines it stands.
NAMES = """() => [...document.querySelectorAll('.gkt-matrix-name')].map(one =>
  [one.clientWidth, Math.round(one.clientHeight / parseFloat(getComputedStyle(one).lineHeight))])"""
PARITY = {
    "passed": True,
    "max_abs_diff": 0.000024,
    "tolerance": 0.001,
    "argmax_agreement": 1.0,
    "greedy_equal": True,
}


@pytest.fixture(scope="module")
def run(server: AppServer) -> RunFolder:  # noqa: F811
    """A finished run of six rows, one of each label, measured and exported."""
    make_administrator(server).close()
    folder = new_run(server.root, "six rows")
    folder.recipe_json.write_text(json.dumps({"name": "six rows"}))
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
        tell(RunStarted())
        for number in range(1, 6):
            tell(step(number))
        tell(RunEnded(status="done"))
    folder.report_json.write_text(json.dumps(report().to_json()))
    folder.adapter.mkdir()
    made = folder.artifacts / "peft"
    made.mkdir(parents=True)
    (made / "parity.json").write_text(json.dumps(PARITY))
    return folder


def report() -> Report:
    right = [*LABELS]
    answer = Answer(text="Hm.", stop_reason="stop", predicted=LABELS[0], confidence=0.5)
    sample = Sample(row=2, file="a.csv", prompt="?", expected=LABELS[0], tuned=answer, base=answer)
    return Report(
        task="classification",
        rows=6,
        shortened=0,
        dropped=0,
        base=Measures(loss=2, tokens=6, classification=classify(right, [right[0]] * 6, LABELS)),
        tuned=Measures(loss=1, tokens=6, classification=classify(right, right, LABELS)),
        compared=Comparison(better=5, worse=0),
        samples=(sample,),
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desk", "phone"])
def test_nothing_is_cut_and_nothing_complains(page, server, axe, run, size, theme):  # noqa: F811
    page.set_viewport_size(PHONE if size == "phone" else DESK)
    page.emulate_media(color_scheme=theme)
    sign_in(page, server.address)
    for part, text in (("", "Finished"), ("/result", "Where it is wrong"),
                       ("/playground", "Ask both"), ("/export", "Made and checked")):  # fmt: skip
        page.goto(f"{server.address}/runs/{run.id}{part}")
        page.get_by_text(text).first.wait_for()
        for name in ("For experts", "How it was checked", "How to run it", "How it chooses"):
            for one in page.get_by_text(name).all():
                one.click()
        page.wait_for_timeout(500)  # what opens is open
        assert fits(page), part
        assert violations(page, axe) == [], part
        shot(page, f"after{part.replace('/', '-')}-{size}-{theme}")
    assert complaints(page) == []


def test_the_matrix_is_read_and_reached_on_a_phone(page, server, run):  # noqa: F811
    page.set_viewport_size(PHONE)
    sign_in(page, server.address)
    page.goto(f"{server.address}/runs/{run.id}/result")
    page.locator(".gkt-matrix").wait_for()
    assert all(width >= 50 and lines <= 3 for width, lines in page.evaluate(NAMES))
    first = page.get_by_role("rowheader").first
    at = first.bounding_box()["x"]
    last = page.get_by_role("columnheader").filter(has_text="The rest")
    last.scroll_into_view_if_needed()
    box = last.bounding_box()
    assert box["x"] + box["width"] <= PHONE["width"], "the last column can be seen whole"
    assert first.bounding_box()["x"] == pytest.approx(at, abs=5), "and which row it is as well"

"""From a file to a downloaded model in a real Chromium, on the demo model, without writing code."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune_ui.api.naming import shipped_data
from tests.support.app_server import AppServer, make_administrator
from tests.ui.server.test_browser import (  # noqa: F401  # fixtures
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PATIENCE_MS = 600_000
HARMLESS = "Resize must be passed a displayed plot div element."  # Plotly's, of a hidden chart


def some_mails(folder: Path, count: int = 60) -> Path:
    """The first rows of the mails that ship, as somebody's own file."""
    rows = list(csv.reader(shipped_data()["spam_train.csv"].open(encoding="utf-8", newline="")))
    path = folder / "my mails.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows[: count + 1])
    return path


def fill(page: Any, label: str, value: str) -> None:  # noqa: F811
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")


def steps_drawn(page: Any) -> list[float]:  # noqa: F811
    """The steps that the browser's loss curve has."""
    return page.evaluate(
        "() => { const plot = [...document.querySelectorAll('.js-plotly-plot')]"
        ".find(one => one.data && one.data[0].name === 'Training');"
        " return plot ? [...plot.data[0].x] : []; }"
    )


def wait_for_steps(page: Any, count: int) -> None:  # noqa: F811
    page.wait_for_function(
        "n => { const plot = [...document.querySelectorAll('.js-plotly-plot')]"
        ".find(one => one.data && one.data[0].name === 'Training');"
        " return plot && plot.data[0].x.length >= n; }",
        arg=count,
        timeout=PATIENCE_MS,
    )


@pytest.fixture(scope="module")
def run_url(server: AppServer, chromium: Any, tmp_path_factory: Any) -> dict[str, str]:  # noqa: F811
    """Filled in by the walk: where its run is."""
    make_administrator(server).close()
    return {}


def test_from_a_file_to_a_downloaded_model(page, server, axe, run_url, tmp_path):  # noqa: F811
    sign_in(page, server.address)
    page.get_by_role("link", name="Use my own data").click()
    page.wait_for_url("**/data")
    page.locator("input[type=file]").set_input_files(some_mails(tmp_path))
    page.wait_for_url("**/data/*")
    page.get_by_role("columnheader", name="message (text)").wait_for()
    shot(page, "walk-data")
    page.get_by_text("Set up a run with it").click()
    page.wait_for_url("**/configure**")
    page.get_by_role("button", name="Quick try").click()
    fill(page, "Name of the run", "my-mails")
    fill(page, "Max length (tokens)", "128")
    page.get_by_text("More about the training").click()
    fill(page, "Batch tokens (tokens)", "256")
    fill(page, "Micro batch tokens (tokens)", "128")
    fill(page, "Max steps", "12")
    page.get_by_text("More about the data").click()
    page.get_by_label("Too long", exact=True).click()
    page.get_by_role("option", name="truncate").click()
    page.get_by_text("PEFT adapter (a few MB)").click()
    page.get_by_text("It fits.").wait_for(timeout=60_000)
    assert violations(page, axe) == []
    shot(page, "walk-configure")
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url("**/runs/*")
    run_url["url"] = page.url
    wait_for_steps(page, 2)
    shot(page, "walk-run")
    page.reload()
    wait_for_steps(page, 3)
    drawn = steps_drawn(page)
    assert drawn == [float(step) for step in range(1, len(drawn) + 1)], "a hole in the curve"
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused between two steps").wait_for(timeout=PATIENCE_MS)
    page.get_by_role("button", name="Change a setting").click()
    page.get_by_label("New value").fill("1e-4")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("learning_rate = 0.0001").first.wait_for(timeout=60_000)
    assert violations(page, axe) == []
    page.get_by_role("button", name="Go on", exact=True).click()
    page.get_by_text("Finished", exact=True).wait_for(timeout=PATIENCE_MS)
    wait_for_steps(page, 12)
    assert steps_drawn(page) == [float(step) for step in range(1, 13)]
    shot(page, "walk-finished")
    page.get_by_role("link", name="Result").click()
    page.get_by_text("Before and after").first.wait_for(timeout=60_000)
    page.get_by_text("Where it is wrong").wait_for()
    assert violations(page, axe) == []
    shot(page, "walk-result")
    page.get_by_role("link", name="Export").click()
    page.get_by_text("Checked: it computes what was trained").wait_for(timeout=60_000)
    assert violations(page, axe) == []
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download all of it").click()
    with tarfile.open(fileobj=io.BytesIO(Path(downloading.value.path()).read_bytes())) as archive:
        assert {"peft/adapter_model.safetensors", "peft/parity.json"} <= set(archive.getnames())
    shot(page, "walk-export")
    assert [text for text in complaints(page) if HARMLESS not in text] == []


def test_the_same_pages_on_a_phone_in_the_dark_by_keyboard(page, server, axe, run_url):  # noqa: F811
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    sign_in(page, server.address)
    if "url" not in run_url:
        pytest.fail("the walk before this test found no run")
    for part, text in (
        ("", "Finished"), ("/result", "Before and after"), ("/export", "Made and checked"),
    ):  # fmt: skip
        page.goto(run_url["url"] + part)
        page.get_by_text(text).first.wait_for(timeout=60_000)
        assert fits(page), part
        assert violations(page, axe) == [], part
        shot(page, f"phone{part.replace('/', '-') or '-run'}")
    for path, text in (
        ("/", "Newest runs"), ("/data", "Choose a file"), ("/runs", "my-mails"),
        ("/configure?data=shipped:spam_train.csv", "It fits."), ("/help", "Accuracy"),
    ):  # fmt: skip
        page.goto(server.address + path)
        page.get_by_text(text).first.wait_for(timeout=60_000)
        assert fits(page), path
        assert violations(page, axe) == [], path
        shot(page, f"phone-{path.strip('/').partition('?')[0] or 'home'}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "Menu"
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Runs").wait_for()

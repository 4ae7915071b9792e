"""From a file to a downloaded model in a real Chromium, on the demo model, without writing code."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune_ui.api.naming import shipped_data
from tests.support.app_server import AppServer, make_administrator
from tests.ui.server.test_browser import (  # noqa: F401  # fixtures
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
    train_a_little,
    violations,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PATIENCE_MS = 600_000
# Both models have answered, and each token says how sure it was.
ANSWERED = """() => [...document.querySelectorAll('.gkt-said')]
  .filter(one => one.querySelector('.gkt-choice')).length === 2"""
NAMED = """() => {
  const one = document.activeElement;
  const label = one.labels && one.labels[0] ? one.labels[0].textContent : "";
  const copy = one.cloneNode(true);
  copy.querySelectorAll("[aria-hidden=true], script").forEach((icon) => icon.remove());
  const name = one.getAttribute("aria-label") || label || copy.textContent || "";
  return [name.trim(), one.matches(":focus-visible")];
}"""
FITS = re.compile(r"^It fits\b")  # perhaps only just, as the machine has other work
THEMES = ("light", "dark")


def some_mails(folder: Path, count: int = 60) -> Path:
    """The first rows of the mails that ship, as somebody's own file."""
    rows = list(csv.reader(shipped_data()["spam_train.csv"].open(encoding="utf-8", newline="")))
    path = folder / "my mails.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows[: count + 1])
    return path


def walk_the_pieces(tab: Any) -> None:
    """An answer is one stop of the Tab key; within it the arrow keys choose, and say of what."""
    from playwright.sync_api import expect

    answers = tab.get_by_role("listbox")
    assert [answers.nth(at).locator("[tabindex='0']").count() for at in range(2)] == [1, 1]
    pieces = answers.first.get_by_role("option")
    last = pieces.count() - 1
    pieces.first.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("End")
    expect(pieces.nth(last)).to_be_focused()
    expect(pieces.nth(last)).to_have_attribute("aria-selected", "true")
    expect(answers.first.locator("[tabindex='0']")).to_have_count(1)
    said = pieces.nth(last).get_attribute("aria-label")
    expect(tab.locator(".gkt-said-of").first).to_have_text(str(said))
    tab.keyboard.press("Tab")
    expect(answers.nth(1).get_by_role("option").first).to_be_focused()


def new_mails(folder: Path) -> Path:
    """A few mails without labels, as somebody keeps them."""
    path = folder / "new mails.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [
                ["sender", "message"],
                ["ann", "You have won a prize, click here"],
                ["bob", ""],
                ["=cmd()", "See you at noon"],
                ["eve", "Free entry: call now"],
            ]
        )
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
    """Filled in by the walk: where its run is, once that has finished."""
    make_administrator(server).close()
    return {}


def test_from_a_file_to_a_downloaded_model(page, server, axe, run_url, tmp_path):  # noqa: F811
    sign_in(page, server.address)
    page.get_by_role("link", name="Use my own data").click()
    train_a_little(server.root, "earlier", steps=5)  # now: with a run, Home leads on from that
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
    page.get_by_text(FITS).filter(visible=True).first.wait_for(timeout=60_000)
    assert violations(page, axe) == []
    shot(page, "walk-configure")
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url("**/runs/*")
    url = page.url
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
    page.get_by_text("Learning rate 0.0001").first.wait_for(timeout=60_000)
    assert violations(page, axe) == []
    page.get_by_role("button", name="Go on", exact=True).click()
    page.get_by_text("Finished", exact=True).wait_for(timeout=PATIENCE_MS)
    run_url["url"] = url
    wait_for_steps(page, 12)
    assert steps_drawn(page) == [float(step) for step in range(1, 13)]
    shot(page, "walk-finished")
    page.get_by_role("link", name="Result", exact=True).click()
    page.get_by_text("Before and after").first.wait_for(timeout=60_000)
    page.get_by_text("Where it is wrong").wait_for()
    assert violations(page, axe) == []
    shot(page, "walk-result")
    page.get_by_role("link", name="Playground", exact=True).click()
    page.get_by_label("Text to label").fill("You won a prize, click here")
    page.get_by_text("How it chooses its words").click()
    fill(page, "Longest answer (tokens)", "8")
    page.get_by_role("button", name="Ask both").click()
    page.wait_for_function(ANSWERED, timeout=PATIENCE_MS)
    piece = page.get_by_role("option").first
    assert "%" in (piece.get_attribute("aria-label") or "")
    piece.hover()
    page.locator(".gkt-said-of", has_text="Else:").wait_for()
    shot(page, "walk-playground")
    assert violations(page, axe) == []
    page.get_by_role("link", name="Use on a table").click()
    page.get_by_text("Upload a table").click()
    page.locator("input[type=file]").set_input_files(new_mails(tmp_path))
    page.get_by_text("This is the column that the model learned from.").wait_for(timeout=60_000)
    page.get_by_role("button", name="Answer all rows").click()
    page.get_by_text("Rows with an answer: 3 of 4.").wait_for(timeout=PATIENCE_MS)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the whole table").click()
    assert downloading.value.suggested_filename == "new mails answers.csv"
    text = Path(downloading.value.path()).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [bool(row["label"]) for row in rows] == [True, False, True, True]
    assert rows[2]["sender"] == "'=cmd()"
    assert violations(page, axe) == []
    shot(page, "walk-table")
    page.goto(f"{server.address}/runs")
    for name in ("my-mails", "earlier"):
        page.get_by_role("row").filter(has_text=name).get_by_role("checkbox").click()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Compare", exact=False).first.wait_for()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert violations(page, axe) == []
    shot(page, "walk-compare")
    page.goto(f"{url}/export")
    page.get_by_text("Checked: it computes what was trained").wait_for(timeout=60_000)
    assert violations(page, axe) == []
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download all of it").click()
    assert downloading.value.suggested_filename == "my-mails-peft.zip"
    with zipfile.ZipFile(downloading.value.path()) as archive:
        assert {"peft/adapter_model.safetensors", "peft/parity.json"} <= set(archive.namelist())
    shot(page, "walk-export")
    assert complaints(page) == []


def short_mails(folder: Path, count: int = 48) -> Path:
    """Rows that nothing has to be cut off of."""
    path = folder / "short mails.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "label"])
        for number in range(count // 2):
            writer.writerow([f"You have won prize number {number}, click here", "spam"])
            writer.writerow([f"See you in room {number} at noon", "ham"])
    return path


def tab_to(page: Any, name: str, *, key: str = "", most: int = 150) -> None:  # noqa: F811
    """Presses Tab until what has this name is focused, and can be seen to be; then `key`."""
    passed = []
    for _ in range(most):
        page.keyboard.press("Tab")
        found, is_seen = page.evaluate(NAMED)
        passed.append(found[:40])
        if found.startswith(name):
            assert is_seen, f"the focus on {name} can't be seen"
            if key:
                page.keyboard.press(key)
            return
    raise AssertionError(f"the Tab key doesn't come to {name!r}; it came by {passed}")


def type_into(page: Any, name: str, value: str) -> None:  # noqa: F811
    tab_to(page, name)
    page.keyboard.press("Control+a")
    page.keyboard.type(value)


def answer_a_table(page: Any, table: Path) -> None:  # noqa: F811
    """By keyboard, on the run's page for that."""
    page.get_by_role("button", name='Expand "Upload a table"').wait_for()
    tab_to(page, 'Expand "Upload a table"', key="Enter")
    page.get_by_role("button", name="Choose a file").wait_for()
    with page.expect_file_chooser() as choosing:
        tab_to(page, "Choose a file", key="Enter")
    choosing.value.set_files(table)
    page.get_by_text("This is the column that the model learned from.").wait_for(timeout=60_000)
    type_into(page, "Mark answers as doubtful below", "90")
    tab_to(page, "Answer all rows", key="Enter")
    page.get_by_text("Rows with an answer: 3 of 4.").wait_for(timeout=PATIENCE_MS)
    with page.expect_download() as downloading:
        tab_to(page, "Download the whole table", key="Enter")
    text = Path(downloading.value.path()).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [bool(row["doubtful"]) for row in rows] == [True, False, True, True]


def test_the_same_on_a_phone_by_keyboard(page, server, run_url, tmp_path):  # noqa: F811
    if "url" not in run_url:
        pytest.fail("the run of the walk before this test has not finished")
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    sign_in(page, server.address)
    page.goto(f"{server.address}/runs")
    page.get_by_text("my-mails").first.wait_for()
    tab_to(page, "Skip to the content", most=1)
    tab_to(page, "Menu", key="Enter", most=1)
    page.get_by_role("link", name="Data").wait_for()
    page.wait_for_timeout(500)  # the drawer slides in
    page.get_by_role("link", name="Data").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/data")
    page.get_by_role("button", name="Choose a file").wait_for()
    with page.expect_file_chooser() as choosing:
        tab_to(page, "Choose a file", key="Enter")
    choosing.value.set_files(short_mails(tmp_path))
    page.wait_for_url("**/data/*")
    page.get_by_text("Set up a run with it").wait_for()
    tab_to(page, "Set up a run with it", key="Enter")
    page.wait_for_url("**/configure**")
    page.get_by_role("button", name="Quick try").wait_for()
    tab_to(page, "Quick try", key="Enter")
    type_into(page, "Name of the run", "by-keyboard")
    type_into(page, "Max length (tokens)", "64")
    tab_to(page, 'Expand "More about the training"', key="Enter")
    type_into(page, "Batch tokens (tokens)", "128")
    type_into(page, "Micro batch tokens (tokens)", "64")
    type_into(page, "Max steps", "8")
    page.keyboard.press("Tab")
    page.get_by_text(FITS).filter(visible=True).first.wait_for(timeout=60_000)
    tab_to(page, "Start the run", key="Enter")
    page.wait_for_url("**/runs/*")
    url = page.url
    wait_for_steps(page, 1)
    page.reload()
    wait_for_steps(page, 2)
    tab_to(page, "Pause", key="Enter")
    page.get_by_text("Paused between two steps").wait_for(timeout=PATIENCE_MS)
    tab_to(page, "Change a setting", key="Enter")
    page.get_by_label("New value").wait_for()
    type_into(page, "New value", "1e-4")
    tab_to(page, "Apply", key="Enter")
    page.get_by_text("Learning rate 0.0001").first.wait_for(timeout=60_000)
    tab_to(page, "Go on", key="Enter")
    page.get_by_text("Finished", exact=True).wait_for(timeout=PATIENCE_MS)
    tab_to(page, "Playground", key="Enter")
    page.wait_for_url("**/playground")
    page.get_by_label("Text to label").wait_for()
    type_into(page, "Text to label", "See you at noon")
    tab_to(page, "Ask both", key="Enter")
    page.wait_for_function(ANSWERED, timeout=PATIENCE_MS)
    walk_the_pieces(page)
    page.goto(f"{url}/table")
    answer_a_table(page, new_mails(tmp_path))
    page.goto(f"{url}/export")
    page.get_by_role("button", name="Export", exact=True).first.wait_for()
    tab_to(page, "Export", key="", most=60)  # the link to this page, in the run's tabs
    tab_to(page, "Export")  # the whole model
    tab_to(page, "Export", key="Enter")  # the adapter
    page.get_by_text("Checked: it computes what was trained").wait_for(timeout=PATIENCE_MS)
    with page.expect_download() as downloading:
        tab_to(page, "Download all of it", key="Enter")
    assert Path(downloading.value.path()).stat().st_size > 10_000
    page.goto(f"{server.address}/runs")
    page.get_by_text("by-keyboard").first.wait_for()
    assert complaints(page) == []


@pytest.mark.parametrize("size", ["desk", "phone"])
@pytest.mark.parametrize("theme", THEMES)
def test_every_page_is_sound_in_every_size_and_theme(page, server, axe, run_url, size, theme):  # noqa: F811
    if "url" not in run_url:
        pytest.fail("the run of the walk before this test has not finished")
    page.set_viewport_size(PHONE if size == "phone" else DESK)
    page.emulate_media(color_scheme=theme)
    sign_in(page, server.address)
    run = run_url["url"].removeprefix(server.address)
    page.goto(f"{server.address}/data")
    page.get_by_text("my mails").first.click()
    page.wait_for_url("**/data/*")
    data = page.url.removeprefix(server.address)
    for name, path, text in (
        ("home", "/", "Newest runs"),
        ("data", "/data", "Choose a file"),
        ("data-set", data, "Set up a run with it"),
        ("configure", "/configure?data=shipped:spam_train.csv", FITS),
        ("runs", "/runs", "my-mails"),
        ("run", run, "Finished"),
        ("result", f"{run}/result", "Before and after"),
        ("playground", f"{run}/playground", "Ask both"),
        ("table", f"{run}/table", "Rows with an answer"),
        ("export", f"{run}/export", "Made and checked"),
        ("compare", f"/compare?runs={run.rpartition('/')[2]},{earlier(server)}", "earlier"),
        ("settings", "/settings", "Tell me when my work ends"),
        ("admin", "/admin", "Invitations"),
        ("help", "/help", "Accuracy"),
        ("nothing", "/runs/none", "There is nothing here"),
    ):
        page.goto(server.address + path)
        page.get_by_text(text).filter(visible=True).first.wait_for(timeout=60_000)
        if name in ("run", "compare"):
            page.locator(".js-plotly-plot .main-svg").first.wait_for()
        page.wait_for_timeout(300)  # what slides in is there
        shot(page, f"{name}-{size}-{theme}")
        assert fits(page), name
        assert violations(page, axe) == [], name


def earlier(server: AppServer) -> str:  # noqa: F811
    """The run that the walk compares with."""
    return next(path.name for path in (server.root / "runs").iterdir() if "earlier" in path.name)

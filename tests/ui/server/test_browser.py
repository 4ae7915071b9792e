"""A real Chromium at a real server: first visit, page, phone, dark, sign-out, an ended session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from gemma_keras_tune.events import EventWriter, RunStarted, Step
from gemma_keras_tune.run_folder import RunFolder, new_run, open_for_writing
from tests.support.app_server import NAME, PASSWORD, AppServer, running

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 800}, {"width": 1200, "height": 800}
AXE = "axe-core@4.14.1"
STANDS_STILL = "() => document.getAnimations().every(one => one.playState !== 'running')"
COLOURS = """() => [...document.querySelectorAll('.q-notification')].map(
  one => ['.q-notification__message', '.q-btn__content'].map(
    part => getComputedStyle(one.querySelector(part)).color))"""
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = next((found for name in _CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, fetched for this run alone."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so axe-core can't be fetched")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        [npm, "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        pytest.skip(f"axe-core can't be fetched: {done.stderr[-300:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    with running(tmp_path_factory.mktemp("browser") / "root") as server:
        yield server
        for job in psutil.Process(server.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                job.kill()  # one of a test that failed would go on without its server


@pytest.fixture
def page(chromium: Any, server: AppServer) -> Iterator[Any]:
    """A page of a fresh browser; what its console complains about is in `page.said`."""
    context = chromium.new_context(viewport=DESK)
    page = context.new_page()
    page.said = []
    page.on("console", lambda one: page.said.append((one.type, one.text)))
    page.on("pageerror", lambda error: page.said.append(("error", str(error))))
    page.elsewhere = []
    page.on(
        "request",
        lambda one: (
            one.url.startswith((server.address, "data:", "ws://127.0.0.1"))
            or page.elsewhere.append(one.url)
        ),
    )
    yield page
    assert not page.elsewhere, "nothing is fetched from another server"
    context.close()


def complaints(page: Any) -> list[str]:
    """Errors of the console, but for answers that were meant to be refusals."""
    return [
        text
        for kind, text in page.said
        if kind == "error" and "the server responded with a status of 4" not in text
    ]


def shot(page: Any, name: str) -> None:
    """A picture to look at, where the variable GKT_SHOTS names a folder."""
    if folder := os.environ.get("GKT_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def sign_in(page: Any, address: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Home").wait_for()


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds. Nothing moves from here on: a toast that fades out can't be read."""
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_function(STANDS_STILL)
    page.evaluate(axe)
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert len(found["passes"]) > 10
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}"
        for one in found["violations"]
    ]


def fits(page: Any) -> bool:
    """Whether nothing has to be scrolled sideways."""
    width = page.evaluate("document.documentElement.scrollWidth")
    return bool(width <= page.viewport_size["width"])


def train_a_little(root: Path, name: str, *, steps: int) -> RunFolder:
    """A run as a terminal makes one, and that has stopped without a word."""
    folder = new_run(root, name)
    folder.recipe_json.write_text(json.dumps({"name": name}))
    add_steps(folder, 1, steps)
    return folder


def add_steps(folder: RunFolder, first: int, last: int) -> None:
    with open_for_writing(folder) as writer:
        events = EventWriter(folder.events, writer.attempt)
        events(RunStarted(resumed_from=first - 1))
        for step in range(first, last + 1):
            events(
                Step(
                    step=step,
                    total_steps=40,
                    epoch=0.5,
                    loss=1 / step,
                    tokens=8,
                    answer_tokens=2,
                    learning_rate=1e-4,
                    grad_norm=1.0,
                    seconds=0.1,
                    tokens_per_s=80.0,
                )
            )
        events.close()


def test_the_first_visit_makes_the_administrator_by_the_printed_link(page, server, axe):
    page.goto(server.address)
    assert page.url == f"{server.address}/setup"
    shot(page, "setup")
    assert violations(page, axe) == []
    page.goto(server.address + server.setup_path)
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password", exact=True).fill("not the same one")
    page.get_by_label("Password again").fill("as this one here")
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("alert").get_by_text("The two passwords are not the same.").wait_for()
    assert violations(page, axe) == []
    shot(page, "setup-refused")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").press_sequentially(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Home").wait_for()
    page.get_by_text("There is no run yet.").wait_for()
    assert page.get_by_text("gemma-keras-tune train spam_classifier").is_visible()
    shot(page, "home-empty")
    assert violations(page, axe) == []
    assert complaints(page) == []


def test_without_javascript_one_can_sign_in_and_is_told_what_was_wrong(chromium, server):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.address}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill("wrong wrong wrong")
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_role("alert").inner_text() == "The name or the password is wrong."
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{server.address}/")
    context.close()


def test_a_run_of_a_terminal_appears_and_moves_on_while_one_looks(page, server, axe):
    sign_in(page, server.address)
    folder = train_a_little(server.root, f"spam {HOSTILE}", steps=3)
    page.get_by_text("3 of 40").wait_for()
    add_steps(folder, 4, 11)
    page.get_by_text("11 of 40").wait_for()
    page.get_by_text("0.0909").wait_for()
    assert page.get_by_role("link", name=HOSTILE).is_visible()
    assert page.evaluate("window.hacked") is None
    shot(page, "home")
    assert violations(page, axe) == []
    assert complaints(page) == []


def test_at_phone_width_nothing_is_cut_off(page, server, axe):
    page.set_viewport_size(PHONE)
    page.goto(f"{server.address}/sign-in")
    assert fits(page)
    shot(page, "sign-in-phone")
    sign_in(page, server.address)
    page.get_by_text("11 of 40").wait_for()
    assert fits(page)
    shot(page, "home-phone")
    assert violations(page, axe) == []


def test_dark_follows_the_system_and_the_choice_stays(page, server, axe):
    page.emulate_media(color_scheme="dark")
    page.goto(f"{server.address}/sign-in")
    shot(page, "sign-in-dark")
    assert violations(page, axe) == []
    sign_in(page, server.address)
    assert page.locator("body.body--dark").count() == 1
    shot(page, "home-dark")
    assert violations(page, axe) == []
    page.get_by_role("button", name="Theme: automatic").click()
    page.get_by_role("button", name="Theme: light").wait_for()
    page.locator("body.body--light").wait_for()
    page.reload()
    page.get_by_role("button", name="Theme: light").wait_for()
    page.locator("body.body--light").wait_for()
    assert violations(page, axe) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_toast_can_be_read_and_closed(page, server, axe, theme):
    page.emulate_media(color_scheme=theme)
    sign_in(page, server.address)
    for kind in ("negative", "positive", "warning"):
        toast = {"type": kind, "message": f"It is {kind}", "timeout": 0, "closeBtn": "Close"}
        page.evaluate("toast => Quasar.Notify.create(toast)", toast)
        page.get_by_text(f"It is {kind}").wait_for()
    assert violations(page, axe) == []
    for words, close in page.evaluate(COLOURS):
        assert close == words, "what axe can't tell, as a layer of its own lies over the button"
    for left in (2, 1, 0):
        page.get_by_role("button", name="Close").first.click()
        page.locator(".q-notification").nth(left).wait_for(state="detached")


def test_signing_out_ends_the_session_in_every_tab(page, server):
    sign_in(page, server.address)
    other = page.context.new_page()
    other.goto(server.address)
    other.get_by_role("heading", name="Home").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in**")
    other.wait_for_url("**/sign-in**")
    page.goto(server.address)
    assert page.url == f"{server.address}/sign-in"


def test_an_open_page_is_told_that_its_session_has_ended(page, server):
    sign_in(page, server.address)
    cookie = next(one for one in page.context.cookies() if one["name"] == "gkt")
    second = page.context.browser.new_context()
    second.add_cookies([cookie])
    elsewhere = second.new_page()
    elsewhere.goto(server.address)
    elsewhere.get_by_role("button", name="Sign out").click()
    elsewhere.wait_for_url("**/sign-in**")
    page.get_by_text("Your session has ended. Sign in to go on where you were.").wait_for()
    shot(page, "ended")
    second.close()


STUB = """
window.told = [];
window.Notification = class {
  static permission = PERMISSION;
  static requestPermission = async () => PERMISSION;
  constructor(title, how) { window.told.push([title, how.body, how.tag]); }
  close() {}
};
"""


@pytest.mark.parametrize("permission", ["granted", "denied"])
def test_the_browser_tells_or_else_the_page_does(page, server, permission):
    page.add_init_script(STUB.replace("PERMISSION", repr(permission)))
    sign_in(page, server.address)
    page.goto(f"{server.address}/settings")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Try it: This app").first.click()
    page.get_by_text("It should be there now").wait_for()
    told = page.evaluate("window.told")
    if permission == "granted":
        assert [one[0] for one in told] == ["Gemma Keras Tune can reach you here"]
    else:
        assert told == []
        page.get_by_text("Gemma Keras Tune can reach you here").wait_for()
    assert complaints(page) == []


def test_a_page_finds_the_server_again_after_its_restart(chromium, tmp_path):
    root = tmp_path / "root"
    context = chromium.new_context()
    page = context.new_page()
    with running(root) as first:
        page.goto(first.address + first.setup_path)
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password again").fill(PASSWORD)
        page.get_by_role("button", name="Make the account").click()
        page.get_by_text("There is no run yet.").wait_for()
        port = first.port
        first.stop()
    with running(root, "--port", str(port)):
        train_a_little(root, "after the restart", steps=2)
        page.get_by_text("2 of 40").wait_for(timeout=60_000)
    context.close()

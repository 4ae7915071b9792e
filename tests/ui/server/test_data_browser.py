"""Data in a real Chromium: uploads that break off, pasted rows, and a file that wants to be run."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

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
    violations,
)

pytestmark = pytest.mark.slow

HOSTILE = (
    '":x","__proto__","<script>window.hacked=1</script>",constructor\n'
    + "".join(
        f'"<img src=x onerror=""window.hacked=1""> row {n} {{{{constructor.constructor('
        f'\'window.hacked=1\')()}}}}","{"<b>a</b>" if n % 2 else "javascript:window.hacked=1"}"'
        f',=cmd(),"<svg onload=window.hacked=1>"\n'
        for n in range(60)
    )
    + "<img src=x onerror=window.hacked=1>,too short\n"
)
LARGE = b"text,label\n" + b"".join(b"a row of text with number %07d,%c\n" % (n, 97 + n % 2)
                                   for n in range(180_000))  # fmt: skip


@pytest.fixture
def data(page: Any, server: AppServer) -> Any:  # noqa: F811
    """The page `/data`, signed in."""
    if "/setup" in server.said and not (server.root / "made").exists():
        make_administrator(server).close()
        (server.root / "made").touch()
    sign_in(page, server.address)
    page.goto(f"{server.address}/data")
    page.get_by_role("button", name="Choose a file").wait_for()
    return page


def choose(page: Any, name: str, content: bytes) -> None:  # noqa: F811
    file = {"name": name, "mimeType": "text/csv", "buffer": content}
    page.locator("input[type=file]").set_input_files(file)


SHOWN = {
    "Tokens": "What the colours mean",
    "Lengths": "Half have at most",
    "Split": "Held back to measure",
}
"""What each part shows when its job is done."""


def pick(page: Any, label: str, option: str) -> None:  # noqa: F811
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    page.get_by_role("option").first.wait_for(state="detached")


def kept(server: AppServer, url: str) -> bytes:  # noqa: F811
    """What the server has of the data set whose page is open."""
    found = re.search(r"/data/([0-9a-f]{32})", url)
    assert found, url
    (file,) = (server.root / "datasets" / found[1]).iterdir()
    return file.read_bytes()


def open_uploads(server: AppServer) -> list[Path]:  # noqa: F811
    return [path for path in (server.root / "uploads").glob("*") if not path.name.startswith(".")]


def test_a_file_that_wants_to_be_run_is_only_shown(data, axe):  # noqa: F811
    choose(data, "<img src=x onerror=window.hacked=1>.csv", HOSTILE.encode())
    data.wait_for_url("**/data/*")
    data.get_by_text("Which column should the model read").wait_for()
    data.get_by_role("cell", name="<svg onload=window.hacked=1>").first.wait_for()
    assert violations(data, axe) == []
    assert data.get_by_label("Label to answer with").input_value() == "__proto__"
    pick(data, "Text to read", "constructor")  # and back again: what stands there was only a guess
    pick(data, "Text to read", ":x")
    data.get_by_role("columnheader", name=":x (text)").wait_for()
    data.get_by_role("tab", name="Check-up").click()
    data.get_by_text("CSV_RAGGED_ROW").wait_for()
    data.get_by_role("button", name="Show the rows").first.click()
    data.get_by_text("Can't be read as a row: <img src=x onerror=window.hacked=1>").wait_for()
    switch = data.get_by_text("Leave out rows that can't be used")
    switch.scroll_into_view_if_needed()
    place = data.evaluate("scrollY")
    switch.click()
    left_out = data.get_by_text("1 row is left out.")
    left_out.nth(1).wait_for()  # beside the way on, and in the check-up
    assert 0 < place <= data.evaluate("scrollY") + 100, "a change leaves the reader where he was"
    assert violations(data, axe) == []
    for tab, text in SHOWN.items():
        data.get_by_role("tab", name=tab).click()
        data.get_by_text(text).first.wait_for()
        shot(data, f"data-{tab.lower()}")
        assert violations(data, axe) == [], tab
    data.reload()
    data.get_by_text("Held back to measure").wait_for()  # the part that was open
    assert data.get_by_label("Text to read").input_value() == ":x"
    data.goto(re.sub(r"/data/.*", "/data", data.url))
    data.get_by_role("link", name="<img src=x").wait_for()
    assert violations(data, axe) == []
    assert data.evaluate("window.hacked") is None
    assert complaints(data) == []


def test_a_link_of_a_table_stays_while_the_page_around_it_changes(data, server):  # noqa: F811
    choose(data, "greetings.csv", b"text,label\n" + b"hello there,a\ngood bye,b\n" * 30)
    data.wait_for_url("**/data/*")
    data.goto(f"{server.address}/data")
    link = data.get_by_role("link", name="greetings", exact=True)
    link.evaluate("link => { window.pressed = link }")
    data.get_by_role("checkbox", name="Choose greetings").click()
    data.get_by_role("button", name="Delete").wait_for()  # the page has changed
    assert data.evaluate("window.pressed.isConnected")
    link.click()
    data.get_by_role("heading", name="greetings", level=1).wait_for()


def test_an_upload_goes_on_after_the_connection_was_lost(data, server):  # noqa: F811
    seen = {"pieces": 0, "lost": 0}

    def answer(route: Any) -> None:
        seen["pieces"] += route.request.method == "PATCH"
        if seen["pieces"] > 2 and seen["lost"] < 3:
            seen["lost"] += 1
            route.abort()
        else:
            route.continue_()

    data.route("**/api/v1/uploads/*", answer)
    choose(data, "large.csv", LARGE)
    data.get_by_text("The connection is lost.").wait_for()
    data.wait_for_url("**/data/*", timeout=60_000)
    data.get_by_text("a row of text with number 0000009").wait_for()
    assert seen["lost"] == 3
    assert hashlib.sha256(kept(server, data.url)).digest() == hashlib.sha256(LARGE).digest()


def test_the_same_file_goes_on_where_a_closed_page_has_left_it(data, server, tmp_path):  # noqa: F811
    content = LARGE.replace(b"with", b"from")
    (tmp_path / "again.csv").write_bytes(content)
    offsets: list[int] = []

    def answer(route: Any) -> None:
        is_piece = route.request.method == "PATCH"
        if is_piece:
            offsets.append(int(route.request.headers["upload-offset"]))
        if is_piece and len(offsets) == 3:
            route.abort()
        else:
            route.continue_()

    data.route("**/api/v1/uploads/*", answer)
    data.locator("input[type=file]").set_input_files(tmp_path / "again.csv")
    data.get_by_text("The connection is lost.").wait_for()
    data.on("dialog", lambda dialog: dialog.accept())
    data.reload()
    data.get_by_role("button", name="Choose a file").wait_for()
    offsets.append(-1)
    data.locator("input[type=file]").set_input_files(tmp_path / "again.csv")
    data.wait_for_url("**/data/*", timeout=60_000)
    assert offsets[offsets.index(-1) + 1] > 0  # not from the beginning
    assert kept(server, data.url) == content


def test_a_cancelled_upload_leaves_nothing(data, server):  # noqa: F811
    data.route(
        "**/api/v1/uploads/*",
        lambda route: route.abort() if route.request.method == "PATCH" else route.continue_(),
    )
    choose(data, "never.csv", LARGE.replace(b"with", b"never"))
    data.get_by_text("The connection is lost.").wait_for()
    assert open_uploads(server)
    data.get_by_role("button", name="Cancel").click()
    data.get_by_role("button", name="Choose a file").wait_for()
    for _ in range(50):
        if not open_uploads(server):
            break
        data.wait_for_timeout(100)
    assert not open_uploads(server)
    assert data.get_by_role("alert").count() == 0


def test_what_is_no_table_is_refused_in_words(data):  # noqa: F811
    data.get_by_text("A spreadsheet must be saved as CSV first.").wait_for()  # before anybody tries
    choose(data, "book.xlsx", b"PK\x03\x04")
    data.get_by_role("alert").get_by_text("A spreadsheet must be saved as CSV first.").wait_for()
    choose(data, "book.csv", b"PK\x03\x04 and more")
    data.get_by_role("alert").get_by_text("Save the sheet as CSV (UTF-8).").wait_for()
    choose(data, "nothing.csv", b"")
    data.get_by_role("alert").get_by_text("nothing.csv is empty.").wait_for()
    assert data.get_by_role("button", name="Choose a file").is_visible()


def test_rows_are_pasted_on_a_phone_by_keyboard(data, server, axe):  # noqa: F811
    data.set_viewport_size(PHONE)
    data.emulate_media(color_scheme="dark")
    data.get_by_role("button", name="Paste rows instead").focus()
    data.keyboard.press("Enter")
    rows = data.get_by_label("Rows, the first line with the names of the columns")
    rows.fill("prompt\tresponse\n" + "".join(f"what is {n}?\tit is {n}\n" for n in range(60)))
    rows.press("Tab")
    data.keyboard.press("Control+A")
    data.keyboard.type("Sums")
    assert violations(data, axe) == []
    data.keyboard.press("Tab")
    data.keyboard.press("Enter")
    data.get_by_role("heading", name="Sums", level=1).wait_for()
    data.get_by_text("what is 3?").wait_for()
    assert data.get_by_label("A row is").input_value() == "a question with its answer"
    assert kept(server, data.url).startswith(b"prompt\tresponse\nwhat is 0?")
    for tab, text in {"Check-up": "No row needs attention", **SHOWN}.items():
        data.get_by_role("tab", name=tab).click()
        data.get_by_text(text).first.wait_for()  # and no job reads the rows any more
        assert fits(data), tab
        assert violations(data, axe) == [], tab
    data.get_by_role("button", name="Delete").click()
    data.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    data.wait_for_url("**/data")
    assert data.get_by_role("link", name="Sums").count() == 0
    assert data.viewport_size != DESK


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_run_can_be_started_without_scrolling_to_its_button(data: Any, size: Any) -> None:
    data.set_viewport_size(size)
    data.goto(data.url.replace("/data", "/configure?data=shipped:spam_train.csv"))
    data.get_by_text("It fits.").filter(visible=True).first.wait_for()
    box = data.get_by_role("button", name="Start the run").bounding_box()
    assert box["y"] > 0 and box["y"] + box["height"] <= size["height"]
    assert fits(data)

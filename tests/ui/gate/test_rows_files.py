"""Rows 23-35, 52 and 62 of the security table: files, paths and names."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from gemma_keras_tune_ui.gate import upload_files
from gemma_keras_tune_ui.gate.answers import Refused
from gemma_keras_tune_ui.gate.downloads import file_in
from gemma_keras_tune_ui.gate.rules import CSRF_HEADER
from gemma_keras_tune_ui.gate.upload_quota import UploadLimits
from gemma_keras_tune_ui.gate.uploads import Uploads
from gemma_keras_tune_ui.store.engine import Store
from tests.ui.gate.people import ANN, TOKEN, person
from tests.ui.gate.test_uploads import CSV, pieces

TRICKS = [
    "../../../etc/passwd",
    "..\\..\\etc\\passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "//windows/win.ini",
    "C:%5cwindows%5cwin.ini",
    "file:///etc/passwd",
    "page.html%00.csv",
    "page.html/../../x",
    "....//....//etc/passwd",
    "page.html%23/../../etc/passwd",
]
ANNA = person("ann")
BEARER = {"authorization": f"Bearer {TOKEN}"}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "app.db" not in path.name]


@dataclass(frozen=True)
class Raw:
    status_code: int
    text: str
    headers: dict[str, str]


def get(
    address: str, path: str, headers: dict[str, str] | None = None, *, method: str = "GET"
) -> Raw:
    """A request whose path isn't tidied up on its way."""
    url = httpx.URL(address)
    connection = HTTPConnection(url.host, url.port, timeout=10)
    connection.request(method, path, headers=BEARER if headers is None else headers)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Raw(answer.status, text, found)


async def test_row_23_a_file_name_is_never_a_path(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "root"
    uploads = Uploads(store, root, limits=UploadLimits(reserve_bytes=0))
    made = []
    for number, name in enumerate([*TRICKS, "CON.csv", "x" * 300, "a\x00b", "\u202egnp.csv"]):
        data = CSV + f"row {number},ham\n".encode()
        upload = await uploads.create(ANNA, purpose="dataset", name=f"{name}.csv", size=len(data))
        await uploads.receive(ANNA, upload.id, offset=0, length=len(data), body=pieces(data))
        done = await uploads.finish(ANNA, upload.id)
        made.append(root / "datasets" / done.id / "data.csv")
        assert not set("/\\\x00\u202e") & set(upload.display_name)
    assert sorted(files_in(tmp_path)) == sorted(made)


@pytest.mark.parametrize("trick", TRICKS)
def test_row_24_a_static_route_does_not_leave_its_folder(address: str, trick: str) -> None:
    import nicegui

    for kind in ("static", "libraries", "components", "esm/x", "resources/x"):
        answer = get(address, f"/_nicegui/{nicegui.__version__}/{kind}/{trick}")
        assert answer.status_code == 404, kind
        assert "root:" not in answer.text


@pytest.mark.parametrize("trick", TRICKS)
def test_row_25_a_file_route_resolves_and_stays_inside(address: str, trick: str) -> None:
    answer = get(address, f"/api/v1/file/{trick}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "name", ["../secret", "link", "folder", "inside/../../secret", "\x00", "x" * 5000, ""]
)
def test_row_25_a_name_on_the_list_still_must_lie_inside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "report.md").write_text("fine")
    assert file_in(folder, "report.md", allowed=("report.md",)) == folder / "report.md"
    with pytest.raises(Refused) as caught:
        file_in(folder, name, allowed=(name,))  # even when the list itself is wrong
    assert caught.value.status == 404
    with pytest.raises(Refused):
        file_in(folder, "report.md", allowed=())


@pytest.mark.parametrize("trick", TRICKS)
def test_row_26_an_id_that_is_a_path_is_found_nowhere(address: str, trick: str) -> None:
    answer = get(address, f"/api/v1/uploads/{trick}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_row_27_a_put_with_a_path_is_401_and_then_404(address: str) -> None:
    for path in ("/api/v1/uploads/x%2f..%2f..%2ftmp", "/api/v1/artifacts/%2e%2e"):
        assert get(address, path, {}, method="PUT").status_code in (401, 404)
        assert get(address, path, method="PUT").status_code == 404


def test_row_27_nothing_is_said_about_paths_before_signing_in(address: str) -> None:
    assert httpx.put(f"{address}/api/v1/artifacts/x").status_code == 401


def test_row_28_a_log_is_found_by_the_run_and_not_by_a_name(address: str) -> None:
    answer = get(address, "/api/v1/file/page.html?filename=../../etc/passwd")
    assert answer.status_code == 200
    assert "root:" not in answer.text


def test_row_29_no_data_set_comes_from_a_path_on_the_server(address: str) -> None:
    for field in ("path", "source", "url", "server_path"):
        body = {"purpose": "dataset", "name": "a.csv", "size": 10, field: "/etc/passwd"}
        answer = httpx.post(f"{address}/api/v1/uploads", json=body, headers=BEARER)
        assert answer.status_code == 422
        assert "extra" in answer.text.lower()


@pytest.mark.parametrize("name", ["page.html", "pic.svg"])
def test_row_35_a_file_of_html_or_svg_is_saved_and_never_shown(address: str, name: str) -> None:
    answer = get(address, f"/api/v1/file/{name}")
    headers = answer.headers
    assert answer.status_code == 200
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == f'attachment; filename="{name}"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")
    assert headers["cache-control"] == "no-store"


async def test_row_52_uploaded_html_stays_data(store: Store, tmp_path: Path) -> None:
    uploads = Uploads(store, tmp_path / "root", limits=UploadLimits(reserve_bytes=0))
    data = b"<html><script>alert(1)</script></html>\n"
    error: Any = None
    try:
        await uploads.create(ANNA, purpose="dataset", name="x.html", size=len(data))
    except Refused as caught:
        error = caught
    assert error.code == "UPLOAD_TYPE"
    upload = await uploads.create(ANNA, purpose="dataset", name="x.csv", size=len(data))
    await uploads.receive(ANNA, upload.id, offset=0, length=len(data), body=pieces(data))
    await uploads.finish(ANNA, upload.id)  # as text of one column; row 35 holds for it


def test_row_62_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    root = tmp_path / "root"
    folder = root / "uploads" / "id"
    folder.mkdir(parents=True)
    (folder / "part").symlink_to(victim)
    with pytest.raises(OSError, match="File exists"):
        upload_files.make_part(root, "id")
    with pytest.raises(OSError, match="symbolic link"):
        upload_files.Part(folder / "part", 0)
    assert victim.read_text() == "mine"
    upload_files.make_part(root, "other")
    made = root / "uploads" / "other"
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(made / "part").st_mode) == 0o600


def test_nicegui_s_own_upload_route_is_closed(address: str) -> None:
    cookies = {"gkt": ANN}
    page = httpx.get(f"{address}/", cookies=cookies).text
    route = page.partition("/_nicegui/client/")[2].partition('"')[0]
    assert "/upload/" in route
    headers = {"origin": address, CSRF_HEADER: "1"}
    answer = httpx.post(
        f"{address}/_nicegui/client/{route}",
        files={"file": ("a.csv", b"x")},
        cookies=cookies,
        headers=headers,
    )
    assert answer.status_code == 404

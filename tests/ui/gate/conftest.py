"""The small app behind the gate, in a process of its own, once for all tests here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it listens, such as `http://127.0.0.1:40000`."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "files").mkdir()
    (folder / "files" / "page.html").write_text("<script>alert(1)</script>")
    (folder / "files" / "pic.svg").write_text("<svg onload='alert(1)'/>" + " " * 100_000)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env["NICEGUI_STORAGE_PATH"] = str(folder / "nicegui")
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ui.gate.app", str(folder)],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=env,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, (folder / "log.txt").read_text()
        base = f"http://127.0.0.1:{port}"
        _wait_for(base)
        yield base
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait_for(base: str) -> None:
    for _ in range(200):
        try:
            if httpx.get(f"{base}/test/state", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the app didn't start")


@pytest.fixture(autouse=True)
def _everybody_signed_in(request: pytest.FixtureRequest) -> None:
    if "address" in request.fixturenames:
        httpx.post(f"{request.getfixturevalue('address')}/test/back").raise_for_status()

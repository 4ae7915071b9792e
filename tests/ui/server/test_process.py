"""A real server process: how it starts, what it logs, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.app_server import FAILING, PASSWORD, make_administrator, running, sign_in

pytestmark = pytest.mark.slow


def start(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to be refused."""
    return subprocess.run(
        [sys.executable, "-m", "gemma_keras_tune", "ui", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_it_starts_without_set_up_answers_and_stops_within_seconds(tmp_path):
    with running(tmp_path / "root") as server:
        assert httpx.get(f"{server.address}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{server.address}/readyz").status_code == 200
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 5
        assert server.said.count("Stopped.") == 1
        assert "Traceback" not in server.said


def test_ctrl_c_ends_it_well_too_and_an_open_stream_does_not_hold_it_up(tmp_path):
    with running(tmp_path / "root") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # a request that never ends
            time.sleep(0.3)
            assert server.stop(signal.SIGINT) == 0
        assert "Stopped." in server.said


def test_a_second_server_on_the_root_is_refused_with_who_holds_it(tmp_path):
    with running(tmp_path / "root") as server:
        done = start("--root", str(tmp_path / "root"), "--port", "0")
    assert done.returncode == 2
    assert "SERVER_RUNNING" in done.stderr and str(server.process.pid) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_refused_with_the_next_free_one(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start("--root", str(tmp_path / "root"), "--port", str(port))
    assert done.returncode == 2 and "PORT_IN_USE" in done.stderr
    assert re.search(r"Port \d+ is free: --port \d+\.", done.stderr)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_it_is_refused_with_what_to_do(tmp_path, host):
    done = start("--root", str(tmp_path / "root"), "--port", "0", "--host", host)
    assert done.returncode == 2 and "UI_EXPOSED" in done.stderr
    assert "tls.certificate" in done.stderr and "trusted_proxies" in done.stderr
    assert not (tmp_path / "root").exists()


def test_a_damaged_database_is_refused_and_a_backup_put_in_its_place_works(tmp_path):
    """Case 55: quick_check fails, nothing is written, the newest backup is named."""
    root = tmp_path / "root"
    with running(root) as server:
        make_administrator(server)
        server.stop()
    done = subprocess.run(
        [sys.executable, "-m", "gemma_keras_tune", "server", "backup", "--root", str(root)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    backup = Path(done.stdout.strip())
    database = root / "server.sqlite3"
    content = bytearray(database.read_bytes())
    content[8192:12_288] = os.urandom(4096)
    database.write_bytes(content)
    refused = start("--root", str(root), "--port", "0")
    assert refused.returncode == 2 and "DB_DAMAGED" in refused.stderr
    assert "backups" in refused.stderr and database.read_bytes() == content
    database.write_bytes(backup.read_bytes())
    with running(root) as server, httpx.Client(base_url=server.address) as http:
        assert sign_in(http).status_code == 303


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    """Case 56."""
    file = tmp_path / "file"
    file.write_text("")
    done = start("--root", str(file / "root"), "--port", "0")
    assert done.returncode == 2 and "ROOT_NOT_WRITABLE" in done.stderr and str(file) in done.stderr


def test_sessions_outlive_a_restart_of_the_server(tmp_path):
    """Cases 58 and 59."""
    root = tmp_path / "root"
    with running(root) as first:
        http = make_administrator(first)
        port = first.port
        first.stop()
    with running(root, "--port", str(port)) as second:
        assert "Nobody has an account yet" not in second.said
        answers = [http.get("/") for _ in range(20)]
        assert [answer.status_code for answer in answers] == [200] * 20


def test_no_secret_stands_in_the_log_whatever_goes_wrong(tmp_path):
    """CVE-2022-24757: cookies in the log of an error."""
    root, canary = tmp_path / "root", "c4n4ry7f3ab2c4n4ry7f3ab2"
    environment = {
        "GEMMA_KERAS_TUNE_LOG__LEVEL": "debug",
        "GEMMA_KERAS_TUNE_OIDC__ISSUER": "http://127.0.0.1:9",
        "GEMMA_KERAS_TUNE_OIDC__CLIENT_ID": "tune",
        "GEMMA_KERAS_TUNE_OIDC__CLIENT_SECRET": canary,
    }
    program = ("-c", FAILING)
    with running(root, environment=environment, program=program) as server:
        code = server.setup_path.partition("=")[2]
        http = make_administrator(server)
        session = next(cookie.value for cookie in http.cookies.jar if cookie.name == "gkt")
        assert session
        headers = {"Authorization": f"Bearer gkt_{canary}", "X-Api-Key": canary}
        for path in (f"/?token={canary}", f"/made-up?password={canary}", f"/api/v1/{canary}"):
            http.get(path, headers=headers)
        http.get("/sign-in/oidc")
        http.get(f"/sign-in/oidc/callback?code={canary}&state={canary}")
        answer = http.get(f"/fail?key={canary}", headers=headers)
        assert answer.status_code == 500 and canary not in answer.text
        with httpx.Client(base_url=server.address) as stranger:
            assert sign_in(stranger, password=canary).status_code == 401
        server.stop()
        said = server.said
    log = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert any(line["event"] == "request" and line["path"] == "/made-up" for line in log)
    assert any("RuntimeError" in line.get("exception", "") for line in log)
    told = [line for line in said.splitlines() if not line.startswith("{")]
    for secret in (canary, PASSWORD, session, session.partition(".")[0]):
        lines = [line for line in said.splitlines() if secret in line]
        # a path that somebody made up is logged as it is
        assert all('"path": "/api/v1/' in line for line in lines), lines
    assert sum(code in line for line in told) == 1
    assert not any(code in json.dumps(line) for line in log)


def test_what_was_set_is_shown_with_its_origin_and_no_secret(tmp_path):
    url = "postgresql+asyncpg://tune:c4n4ry@db/tune"
    root = tmp_path / ("deep" * 20)  # whatever its length: what goes into a pipe isn't broken
    done = start("--root", str(root), "--show-settings", GEMMA_KERAS_TUNE_DATABASE__URL=url)
    assert done.returncode == 0 and "c4n4ry" not in done.stdout
    shown = r"database\.url\s+postgresql\+asyncpg://tune:\*\*\*@db/tune\s+environment"
    assert re.search(shown, done.stdout)
    assert f" {root} " in done.stdout
    assert re.search(r"port\s+8080\s+default", done.stdout)

"""The web app as a user starts it, and a person who signs in over plain HTTP."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

NAME, PASSWORD = "ann", "violet horses eat 42 pears"
_PATIENCE_S = 60.0


@dataclass
class AppServer:
    """A server process and what it has said.

    Attributes:
        process: The process.
        root: Its data root.
        log: Its log and what it told the terminal.
    """

    process: subprocess.Popen[bytes]
    root: Path
    log: Path
    port: int = field(default=0)

    @property
    def said(self) -> str:
        """Everything that the process has written."""
        return self.log.read_text(encoding="utf-8")

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def setup_path(self) -> str:
        """The path of the first visit, with the one-time code."""
        found = re.search(r"(/setup\?code=\S+)", self.said)
        assert found, self.said
        return found[1]

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = 20.0) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(within_s)


# A server with a route that fails with all that it was sent.
FAILING = """
import sys
from gemma_keras_tune_ui import app as made
from gemma_keras_tune import cli

create = made.create_app

def with_failure(settings):
    app = create(settings)
    @app.get("/fail")
    async def fail(request: made.Request):
        raise RuntimeError(f"{dict(request.headers)} {request.url} {request.cookies}")
    app.router.routes.insert(0, app.router.routes.pop())
    return app

made.create_app = with_failure
sys.argv[0] = "gemma-keras-tune"
cli.main()
"""


@contextmanager
def running(
    root: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "gemma_keras_tune"),
) -> Iterator[AppServer]:
    """A server on a free port, or on `--port` of the options, until the block ends."""
    log = root.parent / f"{root.name}-{time.monotonic_ns()}.log"
    chosen = () if "--port" in options else ("--port", "0")
    command = [sys.executable, *program, "ui", "--root", str(root)]
    variables = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GEMMA_KERAS_TUNE", "PYTEST"))
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *chosen, *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**variables, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
    server = AppServer(process, root, log)
    try:
        _wait(server)
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def _wait(server: AppServer) -> None:
    end = time.monotonic() + _PATIENCE_S
    while "Stop it with Ctrl-C." not in server.said:
        assert server.process.poll() is None, server.said
        assert time.monotonic() < end, server.said
        time.sleep(0.05)
    found = re.search(r"gkt_port=(\d+)|127\.0\.0\.1:(\d+)|\"port\": (\d+)", server.said)
    if found:
        server.port = int(next(group for group in found.groups() if group))


def make_administrator(server: AppServer, base: str = "", **options: object) -> httpx.Client:
    """A browser of the administrator, whose account is made now."""
    http = httpx.Client(base_url=base or server.address, follow_redirects=False, **options)  # type: ignore[arg-type]
    link = server.setup_path
    fields = {"code": link.partition("=")[2], "name": NAME}
    answer = submit(http, link, **fields, password=PASSWORD, again=PASSWORD)
    assert answer.status_code == 303, answer.text
    return http


def submit(http: httpx.Client, page: str, **fields: str) -> httpx.Response:
    """Opens a page with a form, fills it in, and sends it."""
    form = http.get(page)
    token = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert token, form.text
    origin = str(http.base_url).rstrip("/")
    return http.post(
        page.partition("?")[0], data={"csrf": token[1], **fields}, headers={"Origin": origin}
    )


def sign_in(http: httpx.Client, password: str = PASSWORD) -> httpx.Response:
    """Signs the administrator in."""
    return submit(http, "/sign-in", name=NAME, password=password)

"""How many people can look at once: viewers of a live run, idle pages, pages opened, long lists.

    python -m tests.bench.viewers [--seconds S] [--only NAME]

A real server in a process of its own, and pages without a browser: each opens its page, joins its
socket, says that its charts are drawn, and reads what the server sends. All of it runs on this
machine, so the load of the pages' side counts too. Prints one Markdown table.

The time of an update is that from a step's event, flushed to the run's file, to a viewer that has
received it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
import socketio
from yarl import URL

from gemma_keras_tune.event_types import RunStarted, Step
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune.run_folder import RunFolder, new_run, open_for_writing
from tests.support.app_server import AppServer, make_administrator, running

HZ = 2.0
RUNS = 10_000
IDLE = 400
_JOINING_A_SECOND = 2.5
_WRITTEN = re.compile(r"\b1[0-9]{9}\.[0-9]+")  # seconds since 1970, put into the loss
_LISTENER = re.compile(r'"listener_id":"([0-9a-f-]+)","type":"plotly_afterplot"')
_ELEMENT = re.compile(r'"(\d+)":\{"tag"')
_CLIENT = re.compile(r"'client_id': '([0-9a-f-]{36})'")


@dataclass
class Viewer:
    """One page, as a browser has it.

    Attributes:
        late: Seconds from writing to receiving, of each step that came.
        steps: How many steps came.
        lost: How often the socket broke off.
    """

    late: list[float] = field(default_factory=list)
    steps: int = 0
    lost: int = 0
    counts: bool = False
    socket: socketio.AsyncClient | None = None

    async def open(self, session: aiohttp.ClientSession, address: str, path: str) -> float:
        """Opens a page and joins its socket; the seconds until the page was there."""
        begun = time.perf_counter()
        async with session.get(address + path) as answer:
            page = await answer.text()
            assert answer.status == 200, page[:300]
        passed = time.perf_counter() - begun
        client = _CLIENT.search(page)
        assert client, page[:300]
        cookies = session.cookie_jar.filter_cookies(URL(address))
        cookie = "; ".join(f"{one.key}={one.value}" for one in cookies.values())
        self.socket = socketio.AsyncClient(http_session=session, reconnection=False)
        self.socket.on("*", self._hear)
        self.socket.on("disconnect", self._leave)
        query = f"client_id={client[1]}&tab_id=t&document_id=d&next_message_id=0"
        await self.socket.connect(
            f"{address}?{query}&implicit_handshake=true",
            headers={"Cookie": cookie, "Origin": address},
            socketio_path="/_nicegui_ws/socket.io",
            transports=["websocket"],
        )
        for found in _LISTENER.finditer(page):
            element = _ELEMENT.findall(page, 0, found.start())[-1]
            said = {"id": int(element), "client_id": client[1], "listener_id": found[1]}
            await self.socket.emit("event", said | {"args": ["0"]})  # the first drawing
        return passed

    async def close(self) -> None:
        """Closes the page."""
        if self.socket is not None and self.socket.connected:
            self.counts = False
            await self.socket.disconnect()

    async def _hear(self, event: str, *data: Any) -> None:
        now = time.time()
        if not self.counts or event != "run_javascript":
            return
        for written in set(_WRITTEN.findall(data[0]["code"])):
            self.late.append(now - float(written))
            self.steps += 1

    async def _leave(self, *_: Any) -> None:
        self.lost += self.counts


def write_run(folder: RunFolder, stop: Any) -> None:
    """Trains nothing, and says so twice a second."""
    with open_for_writing(folder) as writer:
        events = EventWriter(folder.events, writer.attempt)
        events(RunStarted(resumed_from=0))
        step = 0
        while not stop.wait(1 / HZ):
            step += 1
            events(
                Step(
                    step=step, total_steps=100_000, epoch=0.0, loss=time.time(), tokens=8,
                    answer_tokens=2, learning_rate=1e-4, grad_norm=1.0, seconds=0.5,
                    tokens_per_s=16.0,
                )
            )  # fmt: skip


@contextmanager
def live_run(root: Path) -> Iterator[RunFolder]:
    """A run that is at work in a process of its own."""
    folder = new_run(root, "live")
    folder.recipe_json.write_text(json.dumps({"name": "live"}))
    stop = multiprocessing.Event()
    process = multiprocessing.Process(target=write_run, args=(folder, stop))
    process.start()
    try:
        while not folder.events.exists():
            time.sleep(0.05)
        yield folder
    finally:
        stop.set()
        process.join()


async def watch(
    server: AppServer, http: httpx.Client, path: str, count: int, seconds: float
) -> None:
    """So many viewers of one live run."""
    async with _session(http) as session:
        viewers = [Viewer() for _ in range(count)]
        opened = await _join(viewers, session, server.address, path)
        await asyncio.sleep(3)
        for viewer in viewers:
            viewer.counts = True
        cpu, own = _cpu(server), time.process_time()
        await asyncio.sleep(seconds)
        used, own = (_cpu(server) - cpu) / seconds, (time.process_time() - own) / seconds
        late = [one for viewer in viewers for one in viewer.late]
        lost = sum(viewer.lost for viewer in viewers)
        least = min(viewer.steps for viewer in viewers)
        note = (
            f"{lost} dropped; each got {least} to {max(v.steps for v in viewers)} steps; "
            f"{100 * used:.0f} % of a core ({100 * own:.0f} % for the viewers); "
            f"{_memory(server):.0f} MB"
        )
        show(f"{count} viewers of a live run at {HZ:.0f} Hz", late, note)
        show(f"the same: opening a page, {_JOINING_A_SECOND} a second", opened)
        await asyncio.gather(*(viewer.close() for viewer in viewers))


async def idle(server: AppServer, http: httpx.Client, count: int) -> None:
    """So many pages of Home that nobody touches."""
    before = _memory(server)
    async with _session(http) as session:
        viewers = [Viewer(counts=True) for _ in range(count)]
        opened = await _join(viewers, session, server.address, "/")
        await asyncio.sleep(10)
        lost = sum(viewer.lost for viewer in viewers)
        cpu = _cpu(server)
        await asyncio.sleep(5)
        used = (_cpu(server) - cpu) / 5
        note = (
            f"{lost} dropped; memory {before:.0f} to {_memory(server):.0f} MB; "
            f"{100 * used:.0f} % of a core"
        )
        show(f"{count} idle pages of Home: opening", opened, note)
        await asyncio.gather(*(viewer.close() for viewer in viewers))


async def opens(
    server: AppServer, http: httpx.Client, name: str, path: str, seconds: float
) -> None:
    """A page that is opened five times a second, whether the last one is there or not."""
    async with _session(http) as session:

        async def one(number: int) -> float:
            await asyncio.sleep(number / 5)
            begun = time.perf_counter()
            async with session.get(server.address + path) as answer:
                await answer.read()
                assert answer.status == 200
            return time.perf_counter() - begun

        took = await asyncio.gather(*(one(number) for number in range(int(5 * seconds))))
    show(name, took)


def many_runs(root: Path, count: int) -> None:
    """So many finished runs on the disk, as terminals leave them."""
    for number in range(count):
        folder = RunFolder(root / "runs" / f"20261101-{number:06}-000-old")
        folder.path.mkdir(parents=True)
        folder.recipe_json.write_text(json.dumps({"name": f"old {number}"}))
        step: dict[str, object] = {
            "kind": "step", "step": 10, "total_steps": 10, "epoch": 1.0, "loss": 1 + number / count,
            "tokens": 1, "answer_tokens": 1, "learning_rate": 0.1, "grad_norm": 1.0,
            "seconds": 1.0, "tokens_per_s": 1.0,
        }  # fmt: skip
        end: dict[str, object] = {"kind": "run_ended", "status": "done", "code": "", "message": ""}
        with folder.events.open("w", encoding="utf-8") as file:
            for seq, said in enumerate((step, end), 1):
                head = {"seq": seq, "attempt": 1, "time": "2026-11-01T00:00:00+00:00"}
                file.write(json.dumps({**head, **said}) + "\n")


def wait_for_runs(http: httpx.Client, count: int) -> float:
    """Seconds until the app lists so many runs."""
    begun = time.perf_counter()
    while http.get("/api/v1/runs?limit=1").json()["total"] < count:
        time.sleep(0.5)
    return time.perf_counter() - begun


def burn(stop: Any) -> None:
    """Keeps one core busy, with the priority that the app gives its jobs."""
    psutil.Process().nice(10)
    while not stop.is_set():
        sum(range(10_000))


@contextmanager
def busy_cores() -> Iterator[None]:
    """As if a training used every core."""
    stop = multiprocessing.Event()
    burners = [multiprocessing.Process(target=burn, args=(stop,)) for _ in range(_cores())]
    for one in burners:
        one.start()
    try:
        yield
    finally:
        stop.set()
        for one in burners:
            one.join()


def show(name: str, seconds: Sequence[float], note: str = "") -> None:
    """Prints a row of the table, in milliseconds."""
    if len(seconds) < 2:
        print(f"| {name} | - | - | - | nothing came; {note} |", flush=True)
        return
    middle, late = statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
    cells = " | ".join(f"{1000 * one:,.0f}" for one in (middle, late, max(seconds)))
    print(f"| {name} | {cells} | {note} |", flush=True)


async def _join(
    viewers: Sequence[Viewer], session: aiohttp.ClientSession, address: str, path: str
) -> list[float]:
    """Seconds until each page was there, a few a second."""

    async def one(number: int, viewer: Viewer) -> float:
        await asyncio.sleep(number / _JOINING_A_SECOND)
        return await viewer.open(session, address, path)

    return await asyncio.gather(*(one(*pair) for pair in enumerate(viewers)))


def _session(http: httpx.Client) -> aiohttp.ClientSession:
    cookies = {one.name: one.value or "" for one in http.cookies.jar}
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies(cookies, response_url=URL(str(http.base_url)))
    return aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(limit=0))


def _memory(server: AppServer) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss / 1e6)


def _cpu(server: AppServer) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


def _cores() -> int:
    return psutil.cpu_count() or 1


def main() -> None:
    """Measures everything, or what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", choices=("watch", "idle", "opens", "runs", "busy"))
    chosen = parser.parse_args()
    print(f"{_cores()} cores, {psutil.cpu_percent(1):.0f} % busy before\n")
    print("| what | p50 ms | p95 ms | max ms | |\n|---|---|---|---|---|")

    def wanted(name: str) -> bool:
        return chosen.only in (None, name)

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if wanted("watch") or wanted("opens") or wanted("busy"):
            server = stack.enter_context(running(Path(folder) / "one"))
            http = make_administrator(server)
            run = stack.enter_context(live_run(server.root))
            wait_for_runs(http, 1)
            path = f"/runs/{run.id}"
            if wanted("watch"):
                for count in (100, 200):
                    asyncio.run(watch(server, http, path, count, chosen.seconds))
            if wanted("opens"):
                name = "the page Runs, opened 5 times a second"
                asyncio.run(opens(server, http, name, "/runs", chosen.seconds))
            if wanted("busy"):
                with busy_cores():
                    name = "all cores at work: the page Runs, 5 times a second"
                    asyncio.run(opens(server, http, name, "/runs", chosen.seconds))
                    print("| all cores at work: | | | | |")
                    asyncio.run(watch(server, http, path, 20, chosen.seconds))
        stack.close()
        if wanted("idle"):
            with running(Path(folder) / "two") as server:
                asyncio.run(idle(server, make_administrator(server), IDLE))
        if wanted("runs"):
            many_runs(Path(folder) / "three", RUNS)
            with running(Path(folder) / "three") as server:
                http = make_administrator(server)
                took = wait_for_runs(http, RUNS)
                print(f"| {RUNS:,} runs of a terminal found | | | | {took:.0f} s |")
                for name, path in (
                    ("listed by the API, 50 a page", "/api/v1/runs?limit=50"),
                    ("the last page", f"/api/v1/runs?limit=50&offset={RUNS - 50}"),
                    ("by loss, filtered by name", "/api/v1/runs?limit=50&sort=loss&search=99"),
                    ("the page Runs", "/runs"),
                ):
                    asyncio.run(opens(server, http, f"{RUNS:,} runs: {name}", path, 10))


if __name__ == "__main__":
    main()

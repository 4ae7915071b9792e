"""A large upload at a real server: its memory, its event loop, and other people's requests.

    python -m tests.bench.upload [--mebibytes N] [--at-once N] [--folder FOLDER]

Sends the bytes in pieces of 8 MiB to the small app of `tests/ui/gate/app.py` (uvicorn, NiceGUI,
the gate, SQLite), made up on the way so that the sender needs no file. Beside it another client
asks for the state twenty times a second. Prints one Markdown row.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from gemma_keras_tune_ui.gate.rules import CHUNK_TYPE
from tests.ui.gate.people import TOKEN

PIECE = 8 * 2**20
LINE = b"a row of a table that somebody has, just as long as the others are,ham\n"
BLOCK = (LINE * (PIECE // len(LINE) + 1))[: PIECE - 1] + b"\n"


@dataclass
class Figures:
    """What was seen while uploads ran."""

    seconds: float = 0.0
    growth: int = 0
    lag_s: float = 0.0
    lag_p99_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)

    @property
    def p95_s(self) -> float:
        """Of the other client's requests."""
        return sorted(self.waits_s)[int(0.95 * len(self.waits_s))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=5 * 1024, help="size of each upload")
    parser.add_argument("--at-once", type=int, default=1, help="uploads at the same time")
    parser.add_argument("--folder", type=Path, help="where the server keeps them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measured(Path(folder), size=options.mebibytes * 2**20, at_once=options.at_once)
    rate = options.mebibytes * options.at_once / found.seconds
    print(
        "| uploads | size MiB | MiB/s | growth MiB | other requests p95 ms "
        "| loop lag p99 ms | loop lag most ms |\n|---|---|---|---|---|---|---|"
    )
    print(
        f"| {options.at_once} | {options.mebibytes:,} | {rate:.0f} | {found.growth / 2**20:.1f} "
        f"| {found.p95_s * 1000:.0f} | {found.lag_p99_s * 1000:.0f} | {found.lag_s * 1000:.0f} |"
    )


def measured(folder: Path, *, size: int, at_once: int = 1) -> Figures:
    """Starts the server, uploads, and looks on."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env["NICEGUI_STORAGE_PATH"] = str(folder / "nicegui")
    command = [sys.executable, "-m", "tests.ui.gate.app", str(folder)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=root) as server:
        try:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            return asyncio.run(_both(address, size=size, at_once=at_once))
        finally:
            server.terminate()


async def _both(address: str, *, size: int, at_once: int) -> Figures:
    limits = httpx.Timeout(120)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=address, timeout=limits, headers=headers) as client:
        await _wait(client)
        await _upload(client, 2 * PIECE, seed=10**6)  # what is imported or made once
        await client.post("/test/lag")
        figures = Figures()
        before = (await client.get("/test/state")).json()["rss"]
        looking = asyncio.create_task(_look(address, figures, before))
        begun = time.perf_counter()
        await asyncio.gather(*(_upload(client, size, seed=seed) for seed in range(at_once)))
        figures.seconds = time.perf_counter() - begun
        looking.cancel()
        found = (await client.get("/test/state")).json()
        figures.lag_s, figures.lag_p99_s = found["lag_s"], found["lag_p99_s"]
        return figures


async def _wait(client: httpx.AsyncClient) -> None:
    for _ in range(300):
        try:
            if (await client.get("/test/state")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.1)
    raise AssertionError("the server didn't start")


async def _upload(client: httpx.AsyncClient, size: int, *, seed: int) -> None:
    new = {"purpose": "dataset", "name": f"{seed}.csv", "size": size}
    upload = (await client.post("/api/v1/uploads", json=new)).raise_for_status().json()
    for offset in range(0, size, PIECE):
        piece = f"{seed:09d} {offset:015d}\n".encode() + BLOCK[26:]
        answer = await client.patch(
            f"/api/v1/uploads/{upload['id']}",
            content=piece[: size - offset],
            headers={"upload-offset": str(offset), "content-type": CHUNK_TYPE},
        )
        answer.raise_for_status()
    done = await client.post(f"/api/v1/uploads/{upload['id']}/finish")
    assert done.raise_for_status().json()["size"] == size


async def _look(address: str, figures: Figures, before: int) -> None:
    """Another client on a connection of its own."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        while True:
            begun = time.perf_counter()
            found = (await client.get("/test/state")).json()
            figures.waits_s.append(time.perf_counter() - begun)
            figures.growth = max(figures.growth, found["rss"] - before)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    main()

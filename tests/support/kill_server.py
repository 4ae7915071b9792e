"""A server process for kill tests: opens the database, holds the root's lock, and supervises.

python kill_server.py ROOT URL
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gemma_keras_tune_ui.data_root import held
from gemma_keras_tune_ui.store.engine import open_store
from tests.support.queue_jobs import new_supervisor


async def main(root: Path, url: str) -> None:
    with held(root):
        store = await open_store(url)
        supervisor = new_supervisor(store, root, slots=SLOTS, warm={"data": ()})
        await supervisor.start()
        print("ready", flush=True)
        await asyncio.Event().wait()


SLOTS = {"light": ("light:0", "light:1"), "device": ("cpu:0", "cpu:1", "cpu:2")}

if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))

"""When Python looks for garbage in the server: rarely, and only among what came after the start.

A full look stops everything, for the longer the more pages are open: half a second with a hundred.
Left to itself Python takes one whenever there is a quarter more to look at, so while people come.
"""

from __future__ import annotations

import asyncio
import gc

from nicegui import Client

EVERY_S = 60.0
"""Seconds between two full looks."""

_FIRST, _SECOND, _NEVER = 5_000, 10, 1_000_000


def settle() -> None:
    """Leaves what is there now out of every later look, and full looks to `collect_rarely`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_FIRST, _SECOND, _NEVER)


async def collect_rarely(every_s: float = EVERY_S) -> None:
    """Takes a full look now and then, until it is cancelled."""
    while True:
        await asyncio.sleep(every_s)
        gc.collect()


def let_go(client: Client) -> None:
    """Unties what of a page that is gone would keep itself alive until the next full look.

    Each element's classes, style and props hold a method of their own: three thousand objects a
    page. Freeing those of a hundred pages at once would stop everybody for a second.
    """
    for element in client.elements.values():
        for held in (element.classes, element.style, element.props):
            held._change_handlers.clear()  # noqa: SLF001 - there is no other way to them

"""The end of a log, as a file that a browser saves and never opens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.responses import Response

from ..identity.refusals import not_found
from .naming import Shown

_MOST = 1 << 20
TAIL_BYTES: dict[str, Any] = {
    "description": f"The last {_MOST:,} bytes at most.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
"""What a route's documentation says of it."""


async def log_tail(path: Path, shown: Shown, *, name: str) -> Response:
    """The end of a log.

    Args:
        path: Made by us, of an id that the database knows.
        shown: Puts names in the place of the server's paths.
        name: What the browser should call it, made by us.

    Raises:
        NotFound: If there is no log yet.
    """
    try:
        text = await asyncio.to_thread(end_of, path)
    except FileNotFoundError:
        raise not_found("The log") from None
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    }
    return Response(shown.text(text), media_type="text/plain", headers=headers)


def end_of(path: Path) -> str:
    """The last mebibyte of a text file, from the beginning of a line on.

    Raises:
        FileNotFoundError: If it isn't there.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _MOST))
        data = file.read(_MOST)
    if size > _MOST:
        data = data[data.find(b"\n") + 1 :]  # the first line is cut
    return data.decode("utf-8", "replace")

"""Files that people get: never shown by the browser, and never found by a path they name.

A route looks an id up in the database and has the folder by it; what may be got inside is a list of
names. Even so the path is resolved and must lie in the folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from .answers import Refused
from .names import display_name

ATTACHED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Headers of whatever is downloaded, beside its name."""


def file_in(folder: Path, name: str, *, allowed: Collection[str]) -> Path:
    """The path of a regular file in `folder`.

    Args:
        folder: Found by an id that the database knows.
        name: One of `allowed`, exactly; with `/` between folders.
        allowed: Names relative to `folder`, all of them made by us.

    Raises:
        Refused: `NOT_FOUND` (404), whatever the reason.
    """
    if name not in allowed:
        raise _no_file()
    try:
        base = folder.resolve(strict=True)
        path = (base / name).resolve(strict=True)
        status = os.lstat(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_file() from error
    if not path.is_relative_to(base) or not stat.S_ISREG(status.st_mode):
        raise _no_file()
    return path


def attached(name: str) -> dict[str, str]:
    """The headers of an attachment that is made while it is sent.

    Args:
        name: What the browser should call it.
    """
    named = f"attachment; filename*=UTF-8''{quote(display_name(name))}"
    return {**ATTACHED, "Content-Disposition": named}


def download(path: Path, *, name: str) -> Response:
    """A file as an attachment of no type, which a browser saves and never opens.

    Args:
        path: From `file_in`, or a path made by us.
        name: What the browser should call it.
    """
    return _Download(
        path,
        headers=ATTACHED,
        media_type="application/octet-stream",
        filename=display_name(name),
    )


class _Download(FileResponse):
    """One range at most: several can be made to cost much more than they give."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ranges = [value for key, value in scope["headers"] if key == b"range"]
        if len(ranges) > 1 or any(b"," in value for value in ranges):
            await Response(status_code=416, headers=ATTACHED)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def _no_file() -> Refused:
    return Refused(404, "NOT_FOUND", "There is no such file.")

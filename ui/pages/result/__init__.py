"""The pages of what came of a run: its result, and its exports."""

from __future__ import annotations

from fastapi import FastAPI

from . import export, result


def register(app: FastAPI) -> None:
    """Adds the pages."""
    result.register(app)
    export.register(app)

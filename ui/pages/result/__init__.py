"""The pages of what came of a run: its result, the playground, and its exports."""

from __future__ import annotations

from fastapi import FastAPI

from . import export, playground, result


def register(app: FastAPI) -> None:
    """Adds the pages."""
    for one in (result, playground, export):
        one.register(app)

"""The pages of what came of a run: its result, the playground, tables, and its exports."""

from __future__ import annotations

from fastapi import FastAPI

from . import export, playground, result, table


def register(app: FastAPI) -> None:
    """Adds the pages."""
    for one in (result, playground, table, export):
        one.register(app)

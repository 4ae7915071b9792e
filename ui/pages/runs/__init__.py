"""The pages of runs: the list, one run as it works, and several compared."""

from __future__ import annotations

from fastapi import FastAPI

from . import compare, listing, run


def register(app: FastAPI) -> None:
    """Adds the pages."""
    for one in (listing, compare, run):
        one.register(app)

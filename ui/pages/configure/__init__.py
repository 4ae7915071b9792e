"""The page on which a run is set up."""

from __future__ import annotations

from fastapi import FastAPI

from . import page


def register(app: FastAPI) -> None:
    """Adds the page."""
    page.register(app)

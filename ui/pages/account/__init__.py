"""The pages about accounts: one's own, and those of the workspace and the server."""

from __future__ import annotations

from fastapi import FastAPI

from . import admin, settings


def register(app: FastAPI) -> None:
    """Adds the pages."""
    settings.register(app)
    admin.register(app)

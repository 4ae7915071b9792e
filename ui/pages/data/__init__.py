"""The pages about data: the list with uploads and examples, and one data set."""

from __future__ import annotations

from fastapi import FastAPI

from . import dataset, listing


def register(app: FastAPI) -> None:
    """Adds the pages."""
    listing.register(app)
    dataset.register(app)

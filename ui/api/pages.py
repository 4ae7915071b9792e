"""Lists in pages: how a request asks for one, and how it is answered."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=500, description="At most so many.")]
Offset = Annotated[int, Query(ge=0, le=100_000_000, description="How many to leave out first.")]
Sort = Annotated[
    str,
    Query(
        pattern=r"^-?[a-z_]{1,40}$",
        description="A field to sort by; with a minus before it, the greatest first.",
    ),
]


class Listed(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    """What is on this page."""
    total: int
    """How many there are on all pages."""


def order(sort: str) -> tuple[str, bool]:
    """The field, and whether the greatest comes first."""
    return sort.removeprefix("-"), sort.startswith("-")

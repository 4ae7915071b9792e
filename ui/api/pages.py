"""Lists in pages: how a request asks for one, and how it is answered."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel

from gemma_keras_tune.errors import TuneError

from ..store.workspace import did_you_mean

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


def _only_known(request: Request) -> None:
    """Refuses what the route of a list doesn't know: with a misspelt filter it would list all.

    Raises:
        TuneError: `UNKNOWN_FIELD`.
    """
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise TuneError(
                f"This list can't be asked for {name[:40]!r}; it takes {', '.join(known)}."
                f"{did_you_mean(name, known)}",
                code="UNKNOWN_FIELD",
            )


ONLY_KNOWN = [Depends(_only_known)]
"""What the route of a list depends on."""


def order(sort: str) -> tuple[str, bool]:
    """The field, and whether the greatest comes first."""
    return sort.removeprefix("-"), sort.startswith("-")

"""That a model must be fetched before the run can begin, what that takes, and the way around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gemma_keras_tune.catalogue import catalogue, find, hub_of, is_here

from ...identity.access import Action
from ...words import configure as words
from ..visit import Visit
from ..widgets import note, secondary

_KEYS = {
    "kaggle": (("KAGGLE_API_TOKEN",), ("KAGGLE_USERNAME", "KAGGLE_KEY")),
    "hf": (("HF_TOKEN",),),
}
"""The secrets that open each hub, the usual way first; of a way all are needed."""


async def has_key(visit: Visit, preset: str) -> bool:
    """Whether a run in this workspace gets a key for the hub that the model is fetched from."""
    hub = hub_of(preset)
    if not hub:
        return False
    asked = visit.asked(Action.VIEW_SECRET_NAMES)
    names = {one.name for one in await asked.identity.vault.names(asked.principal)}
    return any(names.issuperset(keys) for keys in _KEYS[hub])


def show(
    visit: Visit, preset: str, *, size_bytes: int | None, has_key: bool, take: Callable[[str], Any]
) -> None:
    """Puts what has to be known, and a button for the model that is here, onto the page.

    Args:
        visit: The open page.
        preset: The model that isn't here.
        size_bytes: About how much is fetched; None where nobody knows.
        has_key: Whether somebody has stored the key of an account.
        take: Called with the name of the other model.
    """
    at, entry = hub_of(preset), find(preset)
    hub, secret = words.HUBS[at], _KEYS[at][0][0]
    size = "" if size_bytes is None else words.FETCH_SIZE.format(size=visit.reader.size(size_bytes))
    told = [words.FETCH.format(name=preset, hub=hub, size=size)]
    is_open = entry is not None and not entry.needs_account
    if not is_open:
        about_key = words.FETCH_KEY if has_key else words.FETCH_NO_KEY
        told.append(about_key.format(hub=hub, secret=secret))
    if size_bytes is None:
        told.append(words.FETCH_UNPLANNED)
    note(" ".join(told), kind="info" if is_open or has_key else "warning").mark("fetched")
    here = next((one.name for one in catalogue() if is_here(one.name)), None)
    if here is not None:
        secondary(words.TAKE_HERE.format(name=here), lambda: take(here)).mark("take-here")

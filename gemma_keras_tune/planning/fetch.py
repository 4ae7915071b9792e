"""What a run must fetch from a hub before it can begin."""

from __future__ import annotations

from dataclasses import dataclass

from ..catalogue import find, hub_of
from ..model.download import has_key
from .known_models import is_local

_BYTES_A_PARAMETER = 2  # hubs keep bfloat16
_NAMES = {"kaggle": "Kaggle", "hf": "Hugging Face"}


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """A model that isn't on this machine yet.

    Attributes:
        hub: Where it is: `kaggle` or `hf`.
        size_bytes: About how much is fetched.
        needs_account: Whether only an account there gets it.
        has_key: Whether such an account's key was found here.
        words: All of it, for people.
    """

    hub: str
    size_bytes: int
    needs_account: bool
    has_key: bool
    words: str


def fetch_first(preset: str, parameters: int) -> Fetch | None:
    """What a run of this model fetches first; None where nothing. No network is asked.

    Args:
        preset: The recipe's name of the model.
        parameters: How many it has.
    """
    hub = hub_of(preset)
    if not hub or is_local(preset):
        return None
    entry, size, found = find(preset), _BYTES_A_PARAMETER * parameters, has_key(hub)
    needs_account = entry is None or entry.needs_account
    words = (
        f"{preset} isn't on this machine: a run fetches it from {_NAMES[hub]} first, about "
        f"{size / 1e9:.1f} GB, and needs a network for that"
    )
    if needs_account:
        words += f" and an account there, whose key was {'found' if found else 'not found'} here"
    return Fetch(
        hub=hub, size_bytes=size, needs_account=needs_account, has_key=found, words=f"{words}."
    )

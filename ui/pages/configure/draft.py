"""The settings of a run that is being set up, kept on the server: a reload loses nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.recipe import Recipe

from ...api.naming import Names
from ...api.problems import flaws_of
from ...api.recipes_given import Given, check_recipe, with_changes

_MOST_DRAFTS = 1000  # of all people together; the oldest goes first
_MISSING = object()


class Drafts:
    """What people are setting up: one draft for each person and workspace.

    They live in the server's memory: a restart forgets them.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    def get(self, key: tuple[str, str]) -> dict[str, Any] | None:
        """The settings that were kept, or None."""
        return self._kept.get(key)

    def keep(self, key: tuple[str, str], settings: dict[str, Any]) -> None:
        """Keeps settings until others are kept, or very many people have come since."""
        self._kept[key] = settings
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_DRAFTS:
            self._kept.popitem(last=False)

    def forget(self, key: tuple[str, str]) -> None:
        """Forgets what was kept."""
        self._kept.pop(key, None)


class Draft:
    """The settings, with names for files; only what somebody chose.

    Args:
        settings: To begin with.
        changed: Called after each change.
    """

    def __init__(self, settings: Mapping[str, Any], changed: Callable[[], Any]) -> None:
        self.settings: dict[str, Any] = deepcopy(dict(settings))
        self._changed = changed

    def get(self, key: str) -> Any:
        """What a setting is now, its default if nobody chose."""
        place: Any = self.settings
        for name in key.split("."):
            place = place.get(name, _MISSING) if isinstance(place, dict) else _MISSING
        return default_of(key) if place is _MISSING else place

    def set(self, key: str, value: Any) -> None:
        """Chooses a value; the default is left out again."""
        self.update({key: value})

    def update(self, changes: Mapping[str, Any]) -> None:
        """Chooses several values at once."""
        self.settings = with_changes(self.settings, changes)
        for key, value in changes.items():
            if key != "name" and value == default_of(key):
                _remove(self.settings, key.split("."))
        self._changed()

    def replace(self, settings: Mapping[str, Any]) -> None:
        """Takes other settings altogether."""
        self.settings = deepcopy(dict(settings))
        self._changed()

    async def checked(self, names: Names) -> tuple[Given | None, dict[str, str]]:
        """The recipe, or what is wrong by dotted key."""
        try:
            return await check_recipe(self.settings, names), {}
        except RecipeError as error:
            flaws = {flaw.key: flaw.message for flaw in flaws_of(error)}
            return None, flaws or {"": str(error)}


def default_of(key: str) -> Any:
    """The default of a setting as JSON writes it; None where there is none."""
    fields: Any = Recipe.model_fields
    *sections, last = key.split(".")
    for name in sections:
        fields = fields[name].annotation.model_fields
    field = fields.get(last)
    if field is None or field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    return list(value) if isinstance(value, tuple) else value


def _remove(settings: dict[str, Any], path: list[str]) -> None:
    """Takes a setting out, and sections that are empty then."""
    name, *rest = path
    if rest and isinstance(settings.get(name), dict):
        _remove(settings[name], rest)
        if not settings[name]:
            del settings[name]
    elif not rest:
        settings.pop(name, None)

"""The settings of a run that is being set up, kept on the server: a reload loses nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.recipe import Recipe

from ...api.naming import Names
from ...api.problems import flaws_of
from ...api.recipes_given import Given, check_recipe, with_changes
from ..data.remedies import with_remedy

_MOST_DRAFTS = 1000  # of all people together; the oldest goes first
_MISSING = object()
_OF_STEPS = ("train.epochs", "train.max_steps", "train.batch_tokens", "train.micro_batch_tokens")


@dataclass(frozen=True)
class Kept:
    """What is kept of a draft.

    Attributes:
        settings: With names for files; only what somebody chose.
        raised: `(before, after)` of the settings that give a small table more steps, by dotted key.
        may_raise: Whether the next plan may still raise them, as nobody has chosen how many.
        said: What was said of the data on its own page when it was taken over.
        proposed: The name that the page gave the run; another one is somebody's own.
    """

    settings: Mapping[str, Any]
    raised: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    may_raise: bool = False
    said: Mapping[str, Any] = field(default_factory=dict)
    proposed: str = ""


class Drafts:
    """What people are setting up: one draft for each person and workspace.

    They live in the server's memory: a restart forgets them.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    def get(self, key: tuple[str, str]) -> Kept | None:
        """What was kept, or None."""
        return self._kept.get(key)

    def keep(self, key: tuple[str, str], kept: Kept) -> None:
        """Keeps a draft until another is kept, or very many people have come since."""
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_DRAFTS:
            self._kept.popitem(last=False)

    def forget(self, key: tuple[str, str]) -> None:
        """Forgets what was kept."""
        self._kept.pop(key, None)


class Draft:
    """The settings, and what was raised of them for a small table.

    Args:
        kept: To begin with.
        changed: Called after each change.
    """

    def __init__(self, kept: Kept, changed: Callable[[], Any]) -> None:
        self.kept = replace(kept, settings=deepcopy(dict(kept.settings)))
        self._changed = changed

    @property
    def settings(self) -> dict[str, Any]:
        """With names for files; only what somebody chose."""
        return dict(self.kept.settings)

    @property
    def raised(self) -> dict[str, tuple[Any, Any]]:
        """`(before, after)` of what was raised and not changed again since, by dotted key."""
        return {key: ends for key, ends in self.kept.raised.items() if self.get(key) == ends[1]}

    def get(self, key: str) -> Any:
        """What a setting is now, its default if nobody chose."""
        place: Any = self.kept.settings
        for name in key.split("."):
            place = place.get(name, _MISSING) if isinstance(place, dict) else _MISSING
        return default_of(key) if place is _MISSING else place

    def usual(self, key: str) -> Any:
        """What a setting is now, or was before it was raised."""
        before, _ = self.raised.get(key, (self.get(key), None))
        return before

    def set(self, key: str, value: Any) -> None:
        """Chooses a value; the default is left out again."""
        self._put({key: value}, may_raise=self.kept.may_raise and key not in _OF_STEPS)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Chooses several values at once."""
        self._put(changes, may_raise=self.kept.may_raise)

    def choose(self, usual: Mapping[str, Any]) -> None:
        """Chooses several values in the place of what was raised; a plan may raise them again."""
        self._put({**self._before(), **usual}, raised={}, may_raise=True)

    @property
    def has_own_name(self) -> bool:
        """Whether somebody named the run."""
        return self.kept.settings.get("name", self.kept.proposed) != self.kept.proposed

    def propose_name(self, name: str) -> None:
        """Names the run as long as nobody does; that is no change of anybody's."""
        if not self.has_own_name:
            settings = {**self.kept.settings, "name": name}
            self.kept = replace(self.kept, settings=settings, proposed=name)

    def choose_data(self, path: str, said: Mapping[str, Any]) -> None:
        """Takes other data, or what has been said anew of the same.

        What was raised for a small table isn't for another one, but the length of the rows that
        somebody chose stays. Settings of before that belong to no data yet, as those of a recipe
        from another machine, go before what was said.

        Args:
            path: Its name.
            said: What was said of it on its own page.
        """
        if path != self.get("data.path"):
            own = self.settings.get("data", {})
            if is_name(own.get("path")):  # what is so of other data isn't of these
                length = self.get("data.max_length")
                said_length = self.kept.said.get("max_length", default_of("data.max_length"))
                own = {} if length == said_length else {"max_length": length}
            data = {**said, **own, "path": path}
            self._put({**self._before(), "data": data}, raised={}, may_raise=True, said=said)
        elif said != self.kept.said:
            before = self.kept.said
            keys = [key for key in {**before, **said} if said.get(key) != before.get(key)]
            news = {f"data.{key}": said.get(key, default_of(f"data.{key}")) for key in keys}
            self._put(news, may_raise=self.kept.may_raise, said=said)

    def repair(self, remedy: Mapping[str, Any]) -> None:
        """Takes a remedy for the data, which is kept on the data's own page too.

        Args:
            remedy: Settings of the section `data`.
        """
        data = with_remedy(self.settings["data"], remedy)
        changes = {f"data.{key}": data[key] for key in remedy}
        said = with_remedy(self.kept.said, remedy)
        self._put(changes, may_raise=self.kept.may_raise, said=said)

    def take_more(self, changes: Mapping[str, Any]) -> None:
        """Raises settings, so that there are more steps."""
        raised = {key: (self.usual(key), value) for key, value in changes.items()}
        self._put(changes, raised={**self.raised, **raised}, may_raise=False)

    def take_back(self) -> None:
        """Undoes what was raised."""
        self._put(self._before(), raised={}, may_raise=False)

    def replace(self, settings: Mapping[str, Any]) -> None:
        """Takes other settings altogether."""
        self.kept = Kept(deepcopy(dict(settings)))
        self._changed()

    def _before(self) -> dict[str, Any]:
        return {key: before for key, (before, _) in self.raised.items()}

    def _put(
        self,
        changes: Mapping[str, Any],
        *,
        may_raise: bool,
        raised: Mapping[str, tuple[Any, Any]] | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> None:
        settings = with_changes(self.kept.settings, changes)
        for key, value in changes.items():
            if key != "name" and value == default_of(key):
                _remove(settings, key.split("."))
        self.kept = Kept(
            settings,
            raised=self.kept.raised if raised is None else raised,
            may_raise=may_raise,
            said=self.kept.said if said is None else said,
            proposed=self.kept.proposed,
        )
        self._changed()

    async def checked(self, names: Names) -> tuple[Given | None, dict[str, str]]:
        """The recipe, or what is wrong by dotted key."""
        try:
            return await check_recipe(self.kept.settings, names), {}
        except RecipeError as error:
            flaws = {flaw.key: flaw.message for flaw in flaws_of(error)}
            return None, flaws or {"": str(error)}


def is_name(path: Any) -> bool:
    """Whether a path of a recipe is a name of the server's data, and no file of a machine."""
    return isinstance(path, str) and path.startswith(("dataset:", "shipped:"))


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

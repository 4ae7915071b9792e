"""What the sides of a conversation say, and in which order they may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import DataError

Role = Literal["system", "user", "model", "text"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says.

    Args:
        role: `system`, `user`, `model`, or `text` for raw text that stands alone.
        text: The content. Surrounding white space is dropped, except for `text`.
    """

    role: Role
    text: str


def check_turns(turns: Sequence[Turn], *, add_generation_prompt: bool) -> None:
    """Refuse what no template can render.

    Raises:
        DataError: `NO_TURNS`, `UNKNOWN_ROLE`, `ROLE_ORDER` or `EMPTY_TURN`.
    """
    if not turns:
        raise DataError("There are no turns. Give at least one.", code="NO_TURNS")
    for number, turn in enumerate(turns, start=1):
        if turn.role not in ROLES:
            raise DataError(
                f"Turn {number} has the unknown role {turn.role!r}. "
                f"Use one of: {', '.join(ROLES)}.",
                code="UNKNOWN_ROLE",
            )
        if not turn.text.strip():
            raise DataError(
                f"Turn {number} ({turn.role}) is empty. Give it some text, or leave it out.",
                code="EMPTY_TURN",
            )
    roles = [turn.role for turn in turns]
    _check_order(roles, add_generation_prompt=add_generation_prompt)


def _check_order(roles: Sequence[str], *, add_generation_prompt: bool) -> None:
    if "text" in roles:
        if len(roles) > 1:
            raise _order_error(roles, "a turn 'text' stands alone")
        return
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk:
        raise _order_error(roles, "after the system turn comes a user's turn")
    for index, role in enumerate(talk):
        expected = "model" if index % 2 else "user"
        if role != expected:
            number = index + 1 + (len(roles) - len(talk))
            raise _order_error(roles, f"turn {number} must be {expected!r}, not {role!r}")
    if add_generation_prompt and talk[-1] != "user":
        raise _order_error(roles, "an answer can only follow a user's turn")


def _order_error(roles: Sequence[str], reason: str) -> DataError:
    shown = ", ".join(roles[:12]) + (", ..." if len(roles) > 12 else "")
    return DataError(
        f"The turns are in the wrong order ({shown}): {reason}. "
        "Allowed: at most one 'system' first, then 'user' and 'model' in turn, 'user' first.",
        code="ROLE_ORDER",
    )

"""What an account is to the rest of the app, and how its names are written."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Row

from gemma_keras_tune.errors import TuneError

from ..store.tables import users
from .access import Role

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,79}")
NAME_AS_TYPED = r"\s*[A-Za-z0-9][A-Za-z0-9._@+\-]{0,79}\s*"
"""What a form takes as a name, before `account_name`: what a browser checks by its `pattern`."""
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,120}\.[^@\s.]{2,60}")


@dataclass(frozen=True)
class User:
    """One account. Its password's hash is nowhere but in the database.

    Attributes:
        id: Names it everywhere.
        workspace_id: The workspace that opens after signing in.
        name: What it signs in with, lower case.
        display_name: What others see.
        email: Its address, if known.
        is_server_admin: Whether it may do what is about the whole server.
        is_disabled: Whether it is shut out.
        has_password: Whether it can sign in with a password.
        must_change_password: Whether somebody else chose its password.
        created_at: Since when it is there.
    """

    id: str
    workspace_id: str
    name: str
    display_name: str
    email: str | None
    is_server_admin: bool
    is_disabled: bool
    has_password: bool
    must_change_password: bool
    created_at: datetime


@dataclass(frozen=True)
class Member:
    """One account in one workspace.

    Attributes:
        user_id: The account.
        name: What it signs in with.
        display_name: What others see.
        role: What it may do here.
        is_disabled: Whether it is shut out of the server.
        created_at: Since when it is a member.
    """

    user_id: str
    name: str
    display_name: str
    role: Role
    is_disabled: bool
    created_at: datetime


USER_COLUMNS = (
    users.c.id,
    users.c.workspace_id,
    users.c.name,
    users.c.display_name,
    users.c.email,
    users.c.is_server_admin,
    users.c.is_disabled,
    users.c.password_hash.is_not(None).label("has_password"),
    (users.c.password_hash.is_not(None) & users.c.password_changed_at.is_(None)).label(
        "must_change_password"
    ),
    users.c.created_at,
)
"""What `user_of` reads: never the hash."""


def user_of(row: Row) -> User:
    """The account in a row of `USER_COLUMNS`."""
    return User(**row._mapping)


def account_name(text: str) -> str:
    """The name as the database holds it: lower case, without spaces around it."""
    return unicodedata.normalize("NFKC", text[:200]).strip().lower()


def is_name(name: str) -> bool:
    """Whether an account can be called so."""
    return _NAME.fullmatch(name) is not None


def is_email(text: str) -> bool:
    """Whether a text looks like an e-mail address."""
    return len(text) <= 254 and text.isprintable() and _EMAIL.fullmatch(text) is not None


def check_names(name: str, display_name: str, email: str | None) -> None:
    """Returns if an account can be called so.

    Raises:
        TuneError: `ACCOUNT_INVALID`, with all that is wrong.
    """
    problems = []
    if not is_name(name):
        problems.append(
            "the name to sign in with has 1 to 80 letters a-z, digits and . _ @ + -, and begins "
            "with a letter or digit"
        )
    if not 1 <= len(display_name) <= 80 or not display_name.isprintable():
        problems.append("the name to show has 1 to 80 characters on one line")
    if email is not None and not is_email(email):
        problems.append("the e-mail address isn't one")
    if problems:
        why = "; ".join(problems)
        raise TuneError(f"The account can't be made: {why}.", code="ACCOUNT_INVALID")


def check_workspace_name(name: str) -> None:
    """Returns if a workspace can be called so.

    Raises:
        TuneError: `WORKSPACE_INVALID`.
    """
    if not 1 <= len(name) <= 80 or not name.isprintable() or name != name.strip():
        raise TuneError(
            "A workspace's name has 1 to 80 characters on one line.", code="WORKSPACE_INVALID"
        )

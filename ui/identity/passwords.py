"""Passwords: argon2id in a thread, and what makes a password too easy to guess.

Source of the cost: OWASP ASVS 5.0, 11.4.2. Source of the rules: NIST SP 800-63B, 5.1.1.2 (length
counts, no kinds of letters are asked for, what everybody tries first is refused).
"""

from __future__ import annotations

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Iterable

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from gemma_keras_tune.errors import TuneError

SHORTEST, LONGEST = 12, 1024
_LONGEST_TYPED = 4 * LONGEST  # a letter may be typed as several characters

_MEMORY_KIB = 19_456  # with two passes; each hash takes this much while it is computed
_AT_ONCE = 2
_LEAST_REST = 6  # letters that must be left when all that is easy to guess is taken out
_LEAST_DISTINCT = 5

# Rows that people run a finger along.
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
)
# What the most used passwords are made of, and this product's own words.
_WORDS = (
    "administrator admin changeme charlie computer corporate dragon football baseball google "
    "default guest iloveyou letmein login master monkey passphrase password passwort motdepasse "
    "passw0rd p4ssword princess qwerty root secret starwars sunshine superman summer winter spring "
    "autumn test trustno welcome user michael jordan shadow hello freedom whatever access batman "
    "gemma keras tune tuning gkt workspace training model"
).split()


class Passwords:
    """Hashes and checks passwords; at most two at once, beside the event loop."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(
            time_cost=2, memory_cost=_MEMORY_KIB, parallelism=1, hash_len=32, salt_len=16
        )
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The argon2id hash with its salt and cost, as text for the database."""
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def verify(self, known: str | None, password: str) -> bool:
        """Whether `password` is the one behind `known`.

        With None it takes the same time and says no, so that nobody learns which names exist.
        """
        if self._nobody is None:
            self._nobody = await self.hash("a password that nobody has")
        async with self._turns:
            right = await asyncio.to_thread(self._matches, known or self._nobody, password)
        return right and known is not None

    def needs_rehash(self, known: str) -> bool:
        """Whether a hash was made at another cost than today's."""
        try:
            return self._hasher.check_needs_rehash(known)
        except InvalidHashError:
            return False

    def _matches(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, _normal(password))
        except (Argon2Error, InvalidHashError, UnicodeEncodeError):
            return False


def fresh_password() -> str:
    """A password that nobody chose: 120 random bits in letters, digits, dashes and underscores."""
    return secrets.token_urlsafe(15)


def check_password(password: str, *, about: Iterable[str] = ()) -> None:
    """Returns if a new password is good enough.

    Args:
        password: As typed.
        about: What belongs to the person: name, e-mail address, workspace.

    Raises:
        TuneError: `PASSWORD_SHORT`, `PASSWORD_LONG`, `PASSWORD_UNREADABLE` (it holds what can't be
            typed again) or `PASSWORD_EASY`, each with what would be good.
    """
    text = _normal(password)
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Cn") for letter in text):
        raise TuneError(
            "The password holds characters that can't be typed again (such as a tab or a line "
            "end). Use letters of any language, digits, marks and spaces.",
            code="PASSWORD_UNREADABLE",
        )
    if len(text) < SHORTEST:
        raise TuneError(
            f"The password has {len(text)} characters; at least {SHORTEST} are needed. Four words "
            "that don't belong together are easy to remember.",
            code="PASSWORD_SHORT",
        )
    if len(text) > LONGEST or len(password) > _LONGEST_TYPED:
        raise TuneError(
            f"The password has {len(password)} characters; at most {LONGEST} are read.",
            code="PASSWORD_LONG",
        )
    rest = _without_what_is_easy(text.casefold(), about)
    if len(rest) < _LEAST_REST or len(set(text.casefold())) < _LEAST_DISTINCT:
        raise TuneError(
            "The password is easy to guess: little is left of it without well-known words, your "
            "own name, repeated characters and rows such as 12345 or qwerty. Four words that "
            "don't belong together are easy to remember.",
            code="PASSWORD_EASY",
        )


def _normal(password: str) -> str:
    """The same password, however a keyboard composes its letters."""
    return unicodedata.normalize("NFKC", password[:_LONGEST_TYPED])


def _without_what_is_easy(text: str, about: Iterable[str]) -> str:
    own = [part for name in about for part in re.split(r"[\W_]+", name.casefold())]
    words = {word for word in (*_WORDS, *own) if len(word) >= 3}
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "\n")
    for row in (*_ROWS, *(row[::-1] for row in _ROWS)):
        for length in range(len(row), 3, -1):
            for start in range(len(row) - length + 1):
                text = text.replace(row[start : start + length], "\n")
    text = re.sub(r"(.{1,4})\1{2,}", "\n", text)
    return re.sub(r"[\n\s]+|(.)(?=\1)", "", text)

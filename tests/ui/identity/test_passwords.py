"""What argon2 costs, that it stays off the event loop, and which passwords are refused."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
import unicodedata

import pytest
from argon2 import extract_parameters
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity import passwords
from gemma_keras_tune_ui.identity.passwords import Passwords, check_password

PASSWORD = "heron lamp cobalt river"


async def test_the_hash_costs_what_asvs_11_4_2_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cost = extract_parameters(await Passwords().hash(PASSWORD))
    assert (cost.type.name, cost.time_cost, cost.memory_cost) == ("ID", 2, 19 * 1024)
    assert (cost.parallelism, cost.hash_len, cost.salt_len) == (1, 32, 16)


async def test_the_right_password_is_known_and_each_hash_is_salted() -> None:
    keeper = Passwords()
    one, two = await keeper.hash(PASSWORD), await keeper.hash(PASSWORD)
    assert one != two
    assert await keeper.verify(one, PASSWORD) and await keeper.verify(two, PASSWORD)
    assert not await keeper.verify(one, PASSWORD + " ")
    assert not await keeper.verify(None, "a password that nobody has")
    assert not await keeper.verify("not a hash", PASSWORD)


async def test_letters_are_the_same_however_a_keyboard_composes_them() -> None:
    keeper = Passwords()
    composed = unicodedata.normalize("NFC", "größer träumen müde")
    apart = unicodedata.normalize("NFD", composed)
    assert composed != apart
    assert await keeper.verify(await keeper.hash(composed), apart)


async def test_at_most_two_hashes_are_computed_at_once_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper, now, most = Passwords(), 0, 0
    lock = threading.Lock()

    def slow(known: str, password: str) -> bool:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return True

    monkeypatch.setattr(keeper, "_matches", slow)
    keeper._nobody = "x"
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(keeper.verify("x", PASSWORD) for _ in range(8)))
    ticking.cancel()
    assert most == 2
    assert ticks > 10, "the event loop went on meanwhile"


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With room for a busy machine: without the hash it would be a thousand times faster."""
    monkeypatch.undo()
    keeper = Passwords()
    known = await keeper.hash(PASSWORD)
    await keeper.verify(None, "warm up")

    async def median(one: str | None) -> float:
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            await keeper.verify(one, "wrong")
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)

    assert 0.2 < await median(None) / await median(known) < 5


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "correct horse battery staple",
        "kV9$mQ2!xT7z",
        "Rindfleischetikettierung",
        "пароль с четырьмя словами",
        "雨が降る前に帰りたいのです",
        "a" * 6 + PASSWORD * 3,
        PASSWORD * 30,
    ],
)
def test_long_or_unusual_passwords_are_taken(password: str) -> None:
    check_password(password, about=("ann", "Ann Example", "ann@example.org"))


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "PASSWORD_SHORT"),
        ("kV9$mQ2!xT7", "PASSWORD_SHORT"),
        ("x" * 1025, "PASSWORD_LONG"),
        ("aaaaaaaaaaaaaaaa", "PASSWORD_EASY"),
        ("abcabcabcabcabc", "PASSWORD_EASY"),
        ("123456789012345", "PASSWORD_EASY"),
        ("qwertyuiop1234", "PASSWORD_EASY"),
        ("Password123456", "PASSWORD_EASY"),
        ("PASSWORDpassword1!", "PASSWORD_EASY"),
        ("Administrator2026", "PASSWORD_EASY"),
        ("gemma-keras-tune", "PASSWORD_EASY"),
        ("GemmaKerasTune1!", "PASSWORD_EASY"),
        ("annexample1234", "PASSWORD_EASY"),
        ("example.org ann ann", "PASSWORD_EASY"),
        ("letmein letmein", "PASSWORD_EASY"),
        ("zyxwvutsrqponm", "PASSWORD_EASY"),
        ("1qaz2wsx3edc4rfv", "PASSWORD_EASY"),
        ("............. ..", "PASSWORD_EASY"),
        ("heron lamp\tcobalt", "PASSWORD_UNREADABLE"),
        ("heron lamp\x00cobalt", "PASSWORD_UNREADABLE"),
        ("heron lamp \ud800cobalt", "PASSWORD_UNREADABLE"),
    ],
)
def test_easy_or_broken_passwords_are_refused(password: str, code: str) -> None:
    with pytest.raises(TuneError) as refused:
        check_password(password, about=("ann", "Ann Example", "ann@example.org"))
    assert refused.value.code == code
    assert not password.strip(". ") or password not in str(refused.value), "it isn't repeated"


@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzäß0123456789 -_"), min_size=1))
def test_own_names_of_any_kind_break_nothing(name: str) -> None:
    check_password(PASSWORD + " zq7 kx3 vb9 " * 3, about=("zzz", f"q{name}q"))


def test_the_parts_that_are_easy_are_data() -> None:
    assert all(word == word.casefold() and len(word) >= 3 for word in passwords._WORDS)

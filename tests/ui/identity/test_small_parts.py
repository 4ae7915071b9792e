"""Rate limits, form tokens, signatures, and local paths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune_ui.identity.csrf import Csrf
from gemma_keras_tune_ui.identity.oidc import local_path
from gemma_keras_tune_ui.identity.people import NAME_AS_TYPED, account_name, is_name
from gemma_keras_tune_ui.identity.rate_limits import ApiLimits, SignInLimits, Window
from gemma_keras_tune_ui.identity.refusals import Forbidden, TooManyRequests
from gemma_keras_tune_ui.identity.signing import derive, sign, unsign
from tests.ui.identity.people import Times

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@given(
    st.lists(st.floats(0, 30, allow_subnormal=False), max_size=60),
    st.integers(1, 5),
)
def test_no_window_of_a_minute_ever_holds_more_than_its_count(
    gaps: list[float], count: int
) -> None:
    times = Times()
    window, hits = Window(count, 60, clock=times.seconds), []
    for gap in gaps:
        times.monotonic += gap
        if window.wait_s("a") == 0:
            window.hit("a")
            hits.append(times.monotonic)
    for start in hits:
        assert sum(start <= hit < start + 60 for hit in hits) <= count


def test_a_window_says_when_it_opens_and_then_does() -> None:
    times = Times()
    window = Window(2, 60, clock=times.seconds)
    for _ in range(2):
        window.hit("a")
        times.monotonic += 10
    assert window.wait_s("a") == 40
    assert window.wait_s("b") == 0
    times.monotonic += 40
    assert window.wait_s("a") == 0


def test_made_up_names_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemma_keras_tune_ui.identity.rate_limits._MOST_KEYS", 100)
    times = Times()
    limits = SignInLimits(clock=times.seconds)
    for number in range(1000):
        limits.enter(f"name{number}", f"10.0.{number % 250}.{number // 250}")
        limits.failed(f"name{number}")
        times.monotonic += 1
    assert len(limits._failures) <= 100
    assert len(limits._by_account._times) <= 101


def test_twenty_tries_a_minute_from_one_address_whatever_the_names() -> None:
    times = Times()
    limits = SignInLimits(clock=times.seconds)
    for number in range(20):
        limits.enter(f"name{number}", "10.0.0.1")
    with pytest.raises(TooManyRequests) as refused:
        limits.enter("another", "10.0.0.1")
    assert refused.value.retry_after_s == 60 and refused.value.status == 429
    limits.enter("another", "10.0.0.2")


def test_whoever_has_an_ipv6_network_has_one_address() -> None:
    limits = SignInLimits(clock=Times().seconds)
    for number in range(20):
        limits.enter(f"name{number}", f"2001:db8:1:2:{number:x}::1")
    with pytest.raises(TooManyRequests):
        limits.enter("another", "2001:db8:1:2:ffff::1")
    limits.enter("another", "2001:db8:1:3::1")


def test_failures_in_a_row_wait_longer_each_time_but_never_for_ever() -> None:
    times = Times()
    limits = SignInLimits(clock=times.seconds)
    waits = []
    for _ in range(12):
        times.monotonic += 61
        limits.enter("ann", "10.0.0.1")
        limits.failed("ann")
        try:
            limits.enter("ann", "10.0.0.1")
            waits.append(0)
        except TooManyRequests as refused:
            waits.append(refused.retry_after_s)
    assert waits == [0, 0, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    times.monotonic += 61
    limits.enter("ann", "10.0.0.1")
    limits.succeeded("ann")
    limits.enter("ann", "10.0.0.1")


def test_one_principal_has_so_many_requests_a_minute() -> None:
    times = Times()
    limits = ApiLimits(3, clock=times.seconds)
    for _ in range(3):
        limits.enter("ann")
    with pytest.raises(TooManyRequests):
        limits.enter("ann")
    limits.enter("bob")


def test_a_form_token_holds_for_its_own_session_only() -> None:
    csrf = Csrf(KEY)
    token = csrf.token("session-hash")
    csrf.check(token, "session-hash")
    assert csrf.token("session-hash") != token
    for wrong, bound in (
        (token, "another-session"),
        (token, ""),
        ("", "session-hash"),
        (token[:-1], "session-hash"),
        ("é", "session-hash"),
        (Csrf(OTHER).token("session-hash"), "session-hash"),
    ):
        with pytest.raises(Forbidden) as refused:
            csrf.check(wrong, bound)
        assert refused.value.code == "CSRF_FAILED"


def test_before_signing_in_a_token_is_bound_to_the_visitors_cookie() -> None:
    csrf = Csrf(KEY)
    visitor, other = csrf.visitor(), csrf.visitor()
    assert visitor != other and csrf.is_visitor(visitor)
    assert not csrf.is_visitor("made up") and not csrf.is_visitor(Csrf(OTHER).visitor())
    csrf.check(csrf.token(visitor), visitor)
    with pytest.raises(Forbidden):
        csrf.check(csrf.token(visitor), other)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=50))
def test_what_was_signed_comes_back_and_only_for_its_purpose(text: str) -> None:
    signed = sign(KEY, "one", text)
    assert unsign(KEY, "one", signed) == text
    assert unsign(KEY, "two", signed) is None
    assert unsign(OTHER, "one", signed) is None


@given(st.text(max_size=80))
def test_made_up_values_are_never_believed(text: str) -> None:
    assert unsign(KEY, "one", text) is None


def test_derived_keys_differ() -> None:
    assert len({KEY, derive(KEY, "one"), derive(KEY, "two"), derive(OTHER, "one")}) == 4


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example/",
        "javascript:alert(1)", "evil.example", "", "/\t/evil.example", "/a\nSet-Cookie: b",
        "///evil.example", "http:///evil.example", "/\u2028x", "@evil.example",
        "https:evil.example", None,
    ],
)  # fmt: skip
def test_row_48_nobody_is_sent_to_another_site(path: str | None) -> None:
    """CVE-2020-26232 and others: `next` must be a local path."""
    assert local_path(path) == "/"


@pytest.mark.parametrize("path", ["/", "/runs/1?tab=loss#x", "/a//b", "/ä"])
def test_a_local_path_is_kept(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "typed", ["ann", "Ann.Lee", " a ", "7_@+-", "Jan Kowalski", "ann!", ".ann", "", " ", "a" * 81]
)
def test_a_browser_lets_through_the_names_that_an_account_can_have(typed: str) -> None:
    is_let_through = re.fullmatch(NAME_AS_TYPED, typed) is not None
    assert is_let_through is is_name(account_name(typed))

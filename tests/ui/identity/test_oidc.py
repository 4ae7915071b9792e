"""Single sign-on against a provider on loopback, which lies in every way that it could."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import select

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity.access import Role
from gemma_keras_tune_ui.identity.oidc import Oidc, OidcConfig
from gemma_keras_tune_ui.identity.people import User
from gemma_keras_tune_ui.identity.refusals import SignInFailed
from gemma_keras_tune_ui.identity.service import Identity, open_identity
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import users
from tests.ui.identity.people import PASSWORD, Times, first_admin
from tests.ui.identity.provider import CLIENT_ID, CLIENT_SECRET, Provider, running

CALLBACK = "http://127.0.0.1:8080/sign-in/oidc/callback"


@pytest.fixture(scope="module")
def one_provider() -> Iterator[Provider]:
    with running() as provider:
        yield provider


@pytest.fixture
def provider(one_provider: Provider) -> Provider:
    one_provider.reset()
    return one_provider


def config(provider: Provider, **more: Any) -> OidcConfig:
    usual: dict[str, Any] = {
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "domains": ("example.org",),
        "creates_accounts": True,
        "new_role": Role.EDITOR,
    }
    return OidcConfig(**(usual | more))


async def opened(store: Store, root: Path, how: OidcConfig) -> tuple[Identity, Oidc]:
    identity = await open_identity(store, root, environ={}, oidc=how)
    assert identity.oidc is not None
    return identity, identity.oidc


@pytest.fixture
async def both(empty_store: Store, tmp_path: Path, provider: Provider) -> tuple[Identity, Oidc]:
    return await opened(empty_store, tmp_path, config(provider))


async def go(oidc: Oidc, provider: Provider, next_path: str = "/") -> tuple[User, str]:
    url, cookie = await oidc.begin(CALLBACK, next_path)
    return await oidc.finish(cookie, provider.visit(url))


async def refused_code(oidc: Oidc, provider: Provider) -> str:
    with pytest.raises(SignInFailed) as refused:
        await go(oidc, provider)
    assert refused.value.status == 401
    return refused.value.code


async def test_somebody_new_comes_in_with_the_role_of_the_configuration(
    both: tuple[Identity, Oidc], provider: Provider
) -> None:
    identity, oidc = both
    ann = await first_admin(identity)
    user, next_path = await go(oidc, provider, "/runs/1")
    assert (user.name, user.display_name, user.email) == (
        "zoe@example.org",
        "Zoe",
        "zoe@example.org",
    )
    assert next_path == "/runs/1" and not user.has_password and not user.is_server_admin
    roles = {one.name: one.role for one in await identity.members.members(ann)}
    assert roles["zoe@example.org"] == Role.EDITOR
    again, _ = await go(oidc, provider)
    assert again.id == user.id, "the second time it is the same account"


async def test_the_person_is_the_subject_and_not_the_address(
    both: tuple[Identity, Oidc], provider: Provider
) -> None:
    user, _ = await go(both[1], provider)
    provider.claims = {"email": "new@example.org"}
    renamed, _ = await go(both[1], provider)
    assert renamed.id == user.id
    provider.claims = {"sub": "subject-2"}
    another, _ = await go(both[1], provider)
    assert another.id != user.id and another.name == "zoe@example.org-2"


async def test_keys_on_an_elliptic_curve_work_too(
    both: tuple[Identity, Oidc], provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "key", ECKey.generate_key("P-256", {"kid": "two"}))
    provider.published = [provider.key]
    assert await go(both[1], provider)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"nonce": "another"}, "OIDC_TOKEN"),
        ({"nonce": None}, "OIDC_TOKEN"),
        ({"aud": "another-client"}, "OIDC_TOKEN"),
        ({"aud": None}, "OIDC_TOKEN"),
        ({"aud": ["another-client"], "azp": CLIENT_ID}, "OIDC_TOKEN"),
        ({"aud": [CLIENT_ID, "another-client"]}, "OIDC_TOKEN"),
        ({"iss": "https://another.example"}, "OIDC_TOKEN"),
        ({"iss": None}, "OIDC_TOKEN"),
        ({"sub": None}, "OIDC_TOKEN"),
        ({"sub": ""}, "OIDC_TOKEN"),
        ({"exp": None}, "OIDC_TOKEN"),
        ({"exp": timedelta(minutes=-2)}, "OIDC_TOKEN"),
        ({"exp": "soon"}, "OIDC_TOKEN"),
        ({"nbf": timedelta(minutes=10)}, "OIDC_TOKEN"),
        ({"at_hash": "wrong"}, "OIDC_TOKEN"),
        ({"email": "zoe@elsewhere.org"}, "OIDC_DOMAIN"),
        ({"email": "zoe@example.org.evil.com"}, "OIDC_DOMAIN"),
        ({"email_verified": False}, "OIDC_DOMAIN"),
        ({"email_verified": "true"}, "OIDC_DOMAIN"),
        ({"email_verified": None}, "OIDC_DOMAIN"),
        ({"email": None}, "OIDC_DOMAIN"),
    ],
    ids=str,
)
async def test_a_token_that_says_something_else_is_refused(
    both: tuple[Identity, Oidc],
    empty_store: Store,
    provider: Provider,
    claims: dict[str, Any],
    code: str,
) -> None:
    provider.claims = {key: _seconds(value) for key, value in claims.items()}
    assert await refused_code(both[1], provider) == code
    async with empty_store.begin() as connection:
        assert (await connection.execute(select(users))).all() == []


def _seconds(value: Any) -> Any:
    """A claim; one that is given as a time from now as the second when that is."""
    return int(time.time() + value.total_seconds()) if isinstance(value, timedelta) else value


async def test_row_61_an_hs256_token_signed_with_the_public_key_is_refused(
    both: tuple[Identity, Oidc], provider: Provider
) -> None:
    """CVE-2024-37568: the provider even claims that it may sign so."""
    provider.sign = provider.signed_with_the_public_key
    assert await refused_code(both[1], provider) == "OIDC_TOKEN"


@pytest.mark.parametrize(
    "sign",
    [
        lambda provider: provider.unsigned,
        lambda provider: lambda claims: provider._signed(claims)[:-4] + "AAAA",
        lambda provider: lambda claims: "not.a.token",
        lambda provider: lambda claims: None,
        lambda provider: lambda claims: {"a": 1},
    ],
    ids=["none", "another signature", "no token", "missing", "no text"],
)
async def test_a_token_without_a_right_signature_is_refused(
    both: tuple[Identity, Oidc], provider: Provider, sign: Callable[[Provider], Any]
) -> None:
    provider.sign = sign(provider)
    assert await refused_code(both[1], provider) == "OIDC_TOKEN"


async def test_a_key_that_the_provider_does_not_publish_is_refused(
    both: tuple[Identity, Oidc], provider: Provider
) -> None:
    provider.published = [RSAKey.generate_key(2048, {"kid": "one"})]
    assert await refused_code(both[1], provider) == "OIDC_TOKEN"


async def test_a_key_that_is_new_is_fetched(
    both: tuple[Identity, Oidc], provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await go(both[1], provider)
    asked = provider.asked_for_keys
    await go(both[1], provider)
    assert provider.asked_for_keys == asked, "they are known for an hour"
    monkeypatch.setattr(provider, "key", RSAKey.generate_key(2048, {"kid": "three"}))
    provider.published = [provider.key]
    assert await go(both[1], provider)


async def test_an_answer_for_another_browser_is_refused(
    both: tuple[Identity, Oidc], provider: Provider
) -> None:
    oidc = both[1]
    url, cookie = await oidc.begin(CALLBACK)
    _, of_another = await oidc.begin(CALLBACK)
    good = provider.visit(url)
    wrong = (
        (of_another, good, "OIDC_STATE"),
        ("", good, "OIDC_STATE"),
        ("made up", good, "OIDC_STATE"),
        ("é", good, "OIDC_STATE"),
        (cookie, {**good, "state": "é"}, "OIDC_STATE"),
        (cookie, {"code": good["code"]}, "OIDC_STATE"),
        (cookie, {**good, "iss": "https://another.example"}, "OIDC_ISSUER"),
        (cookie, {**good, "error": "access_denied"}, "OIDC_DENIED"),
        (cookie, {"state": good["state"]}, "OIDC_DENIED"),
        (cookie, {**good, "code": "made up"}, "OIDC_DENIED"),
    )
    for with_cookie, query, code in wrong:
        with pytest.raises(SignInFailed) as refused:
            await oidc.finish(with_cookie, query)
        assert refused.value.code == code
    assert await oidc.finish(cookie, good)
    with pytest.raises(SignInFailed):
        await oidc.finish(cookie, good)


async def test_a_flow_ends_after_ten_minutes(
    empty_store: Store, tmp_path: Path, provider: Provider
) -> None:
    times = Times()
    identity = await open_identity(
        empty_store, tmp_path, environ={}, oidc=config(provider), clock=times.wall
    )
    assert identity.oidc is not None
    url, cookie = await identity.oidc.begin(CALLBACK)
    times.pass_(minutes=10, seconds=1)
    with pytest.raises(SignInFailed, match="ten minutes"):
        await identity.oidc.finish(cookie, provider.visit(url))


async def test_the_cookie_tells_its_reader_nothing(
    both: tuple[Identity, Oidc], provider: Provider
) -> None:
    url, cookie = await both[1].begin(CALLBACK, "/runs/secret-name")
    state = provider.visit(url)["state"]
    assert state not in cookie and "secret-name" not in cookie


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example"])
async def test_row_48_single_sign_on_leads_back_to_us(
    both: tuple[Identity, Oidc], provider: Provider, path: str
) -> None:
    _, next_path = await go(both[1], provider, path)
    assert next_path == "/"


async def test_without_creating_only_accounts_that_wait_come_in(
    empty_store: Store, tmp_path: Path, provider: Provider
) -> None:
    how = replace(config(provider), creates_accounts=False, domains=())
    identity, oidc = await opened(empty_store, tmp_path, how)
    ann = await first_admin(identity)
    assert await refused_code(oidc, provider) == "OIDC_NO_ACCOUNT"
    made = await identity.accounts.create(
        ann, name="zoe", display_name="Zoe", role=Role.VIEWER, email="zoe@example.org"
    )
    provider.claims = {"email_verified": False}
    assert await refused_code(oidc, provider) == "OIDC_NO_ACCOUNT"
    provider.claims = {}
    user, _ = await go(oidc, provider)
    assert user.id == made.id
    provider.claims = {"email": "changed@example.org", "email_verified": False}
    again, _ = await go(oidc, provider)
    assert again.id == made.id, "from then on the subject counts"
    provider.claims = {"sub": "subject-2"}
    assert await refused_code(oidc, provider) == "OIDC_NO_ACCOUNT", "it is taken"


async def test_an_account_with_a_password_is_never_taken_over(
    empty_store: Store, tmp_path: Path, provider: Provider
) -> None:
    identity, oidc = await opened(empty_store, tmp_path, config(provider))
    ann = await first_admin(identity)
    made = await identity.accounts.create(
        ann, name="zoe", display_name="Zoe", role=Role.ADMIN, email="zoe@example.org",
        password=PASSWORD,
    )  # fmt: skip
    user, _ = await go(oidc, provider)
    assert user.id != made.id


async def test_a_disabled_account_stays_outside(
    both: tuple[Identity, Oidc], provider: Provider
) -> None:
    identity, oidc = both
    ann = await first_admin(identity)
    user, _ = await go(oidc, provider)
    await identity.accounts.set_disabled(ann, user.id, True)
    assert await refused_code(oidc, provider) == "SIGN_IN_FAILED"


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"issuer": "https://another.example"}, "OIDC_ISSUER"),
        ({"token_endpoint": None}, "OIDC_UNREACHABLE"),
        ({"jwks_uri": "file:///etc/passwd"}, "OIDC_UNREACHABLE"),
        ({"jwks_uri": "http://127.0.0.1:1/keys"}, "OIDC_UNREACHABLE"),
    ],
    ids=str,
)
async def test_a_broken_description_is_refused(
    both: tuple[Identity, Oidc], provider: Provider, metadata: dict[str, Any], code: str
) -> None:
    provider.metadata = metadata
    with pytest.raises(SignInFailed) as refused:
        await both[1].begin(CALLBACK)
    assert refused.value.code == code


async def test_a_provider_that_is_away_is_said_so(
    empty_store: Store, tmp_path: Path, provider: Provider
) -> None:
    _, oidc = await opened(
        empty_store, tmp_path, replace(config(provider), issuer="http://127.0.0.1:1")
    )
    with pytest.raises(SignInFailed) as refused:
        await oidc.begin(CALLBACK)
    assert refused.value.code == "OIDC_UNREACHABLE"


def test_open_doors_are_not_configured_by_mistake(provider: Provider) -> None:
    with pytest.raises(TuneError, match="https"):
        config(provider, issuer="http://login.example.org")
    with pytest.raises(TuneError, match="domains"):
        config(provider, domains=())
    assert CLIENT_SECRET not in repr(config(provider))

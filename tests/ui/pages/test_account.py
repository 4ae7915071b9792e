"""One's own account, and what administrators decide about."""

from __future__ import annotations

import asyncio
from html import escape

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune_ui.identity.people import NAME_AS_TYPED
from gemma_keras_tune_ui.pages.visit import Visit
from gemma_keras_tune_ui.words import account as words
from gemma_keras_tune_ui.words import notices
from tests.support.pages import PASSWORD, send_form, signed_in, somebody, until
from tests.ui.pages.test_runs import table

pytestmark = pytest.mark.asyncio(loop_scope="module")


def shown_code(user: User) -> str:
    """The last text to copy that the page shows."""
    return [one.text for one in user.find(marker="code").elements][-1]  # type: ignore[attr-defined]


async def test_a_token_is_shown_once_works_and_is_revoked(ann: User) -> None:
    await ann.open("/settings")
    await ann.should_see(words.TOKENS_NONE)
    ann.find(words.TOKEN_NAME).type("laptop")
    ann.find(marker="make-token").click()
    await until(ann, words.TOKEN_MADE)
    token = shown_code(ann)
    assert token.startswith("gkt_")
    headers = {"Authorization": f"Bearer {token}", "Cookie": ""}
    answer = await ann.http_client.get("/api/v1/session", headers=headers)
    assert answer.json()["scopes"] == ["read"]
    await ann.open("/settings")
    await ann.should_see("laptop")
    await ann.should_not_see(token)
    ann.find(words.REVOKE).click()
    await ann.should_see(words.REVOKE_TEXT)
    ann.find(marker="confirm").click()
    await until(ann, words.TOKENS_NONE)
    answer = await ann.http_client.get("/api/v1/session", headers=headers)
    assert answer.status_code == 401


async def test_role_workspace_and_browsers_are_told_in_words(app: FastAPI, ann: User) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    async with somebody(app) as http:
        http.headers["User-Agent"] = agent
        await send_form(http, "/sign-in", name="ann", password=PASSWORD, next="/")
    await ann.open("/settings")
    await ann.should_see(words.SIGNED_IN_AS.format(name="ann"))
    await ann.should_see(words.ROLE_HERE.format(workspace="Home", role=words.ROLES["owner"]))
    await ann.should_see("Firefox on Linux")
    await ann.should_see(f"{words.UNKNOWN_BROWSER} ({words.SESSION_HERE})")
    tooltips = [one.text for one in ann.find(ui.tooltip).elements]
    assert agent in tooltips


async def test_a_token_without_a_name_is_refused_with_the_reason(ann: User) -> None:
    await ann.open("/settings")
    ann.find(marker="make-token").click()
    await _said(ann, "The token can't be made")


async def test_a_password_is_changed_only_with_the_old_one(app: FastAPI, ann: User) -> None:
    await ann.open("/settings")
    first, second, third = (
        one
        for label in (words.PASSWORD_NOW, words.PASSWORD_NEW, words.PASSWORD_AGAIN)
        for one in ann.find(ui.input).elements
        if one.props["label"] == label
    )
    first.value, second.value, third.value = PASSWORD, "one long password", "another password"
    ann.find(marker="change-password").click()
    await _said(ann, words.PASSWORD_DIFFER)
    new = "seven green lamps hum"
    first.value, second.value, third.value = "wrong", new, new
    ann.find(marker="change-password").click()
    await _said(ann, "password")
    first.value = PASSWORD
    ann.find(marker="change-password").click()
    await _said(ann, words.PASSWORD_CHANGED)
    async with signed_in(app, "ann", new) as again:
        await again.open("/")


async def test_an_account_is_made_given_a_role_and_shut_out(app: FastAPI, ann: User) -> None:
    await ann.open("/admin")
    ann.find(words.USER_NAME).type("bob")
    ann.find(words.USER_SHOWN).type("Bob <b>")
    ann.find(marker="make-user").click()
    await until(ann, words.USER_PASSWORD_TITLE.format(name="bob"))
    password = shown_code(ann)
    async with signed_in(app, "bob", password) as bob:
        await bob.open("/settings")
        await bob.should_see("editor")
        await bob.open("/admin")
        await bob.should_see("you need the role admin")
    await ann.open("/admin")
    ann.find(words.USER_DISABLE).click()
    await ann.should_see(words.USER_DISABLE_TEXT)
    ann.find(marker="confirm").click()
    await until(ann, words.USER_ENABLE)
    with pytest.raises(AssertionError, match="wrong"):
        async with signed_in(app, "bob", password):
            pass


async def test_a_secret_goes_in_and_never_comes_out(ann: User) -> None:
    await ann.open("/admin")
    name, value = (
        next(one for one in ann.find(ui.input).elements if one.props["label"] == label)
        for label in (words.SECRET_NAME, words.SECRET_VALUE)
    )
    name.value, value.value = "HF_TOKEN", "hf_canary_value_1234"
    ann.find(marker="put-secret").click()
    await until(ann, "HF_TOKEN")
    page = await ann.http_client.get("/admin")
    assert "HF_TOKEN" in page.text and "hf_canary_value_1234" not in page.text
    assert value.value == ""


async def test_the_log_is_listed_and_its_chain_is_checked(ann: User) -> None:
    await ann.open("/admin")
    rows = table(ann, words.AUDIT).rows
    assert rows[0]["c1"] == "secret.put" or "secret" in {row["c1"].split(".")[0] for row in rows}
    assert {"ann"} <= {row["c2"] for row in rows}
    ann.find(marker="verify").click()
    await _said(ann, "The chain is whole")


async def test_storage_is_measured_and_a_backup_made(app: FastAPI, ann: User) -> None:
    root = app.state.settings.root
    tokens = root / "cache" / "tokens"
    tokens.mkdir(parents=True)
    (tokens / "tokens-x.npz").write_bytes(b"x" * 2_000_000)
    await ann.open("/admin")
    sizes = {row["key"]: row["c1"] for row in table(ann, words.STORAGE).rows}
    assert sizes["cache"] == "2\u00a0MB"
    ann.find(marker="clear-cache").click()
    await ann.should_see(words.CLEAR_CACHE_TEXT)
    ann.find(marker="confirm").click()
    await _said(ann, "free again")
    assert not tokens.exists()
    before = set((root / "backups").glob("*.sqlite3"))
    ann.find(marker="backup").click()
    await _said(ann, words.BACKUP_MADE)
    assert len(set((root / "backups").glob("*.sqlite3")) - before) == 1


async def test_an_invitation_is_shown_once_and_its_link_makes_an_account(
    app: FastAPI, ann: User
) -> None:
    await ann.open("/admin")
    ann.find(words.INVITE_FOR).type("Gus")
    ann.find(marker="invite").click()
    await until(ann, words.INVITE_MADE)
    link = shown_code(ann)
    assert link.startswith("http://localhost/join?code=")
    await ann.should_see(words.INVITE_ONLY_HERE)
    async with somebody(app) as gus:
        page = await gus.get(link)
        assert "Home" in page.text and "editor" in page.text
        assert f'pattern="{escape(NAME_AS_TYPED)}"' in page.text and "no spaces" in page.text
        fields = {"code": link.partition("=")[2], "name": "gus", "again": PASSWORD}
        wrong = await send_form(gus, link, **fields, password="another one that is long")
        assert wrong.status_code == 400 and "not the same" in wrong.text
        assert (await send_form(gus, link, **fields, password=PASSWORD)).status_code == 303
        assert (await gus.get("/api/v1/session")).json()["name"] == "gus"
    async with somebody(app) as late:
        page = await late.get(link)
        assert page.status_code == 401 and "used" in page.text
        assert 'name="password"' not in page.text
    async with signed_in(app, "gus", PASSWORD) as user:
        await user.open("/admin")
        await user.should_see("you need the role admin")
    await ann.open("/admin")
    await ann.should_see(words.INVITATIONS_NONE)


async def test_an_invitation_of_a_server_that_others_reach_is_revoked(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Visit, "origin", "https://tune.example.org")
    await ann.open("/admin")
    ann.find(marker="invite").click()
    await until(ann, words.INVITE_MADE)
    await ann.should_not_see(words.INVITE_ONLY_HERE)
    link = shown_code(ann).removeprefix("https://tune.example.org")
    await ann.open("/admin")
    await ann.should_see(words.INVITE_ANYBODY)
    ann.find(words.REVOKE).click()
    await ann.should_see(words.INVITE_REVOKE_TEXT)
    ann.find(marker="confirm").click()
    await until(ann, words.INVITATIONS_NONE)
    async with somebody(app) as late:
        assert (await late.get(link)).status_code == 401


async def test_a_place_to_be_told_at_is_added_tried_and_deleted(app: FastAPI, ann: User) -> None:
    await ann.open("/settings")
    await ann.should_see(notices.NONE)
    await ann.should_see(notices.NO_MAIL)
    kind = next(iter(ann.find(marker="notice-kind").elements))
    assert set(kind.options) == {"browser", "slack", "webhook"}  # type: ignore[attr-defined]
    kind.value = "webhook"  # type: ignore[attr-defined]
    ann.find(marker="notice-address").type("http://127.0.0.1/secret")
    ann.find(marker="add-notice").click()
    await _said(ann, "begins with https://")
    address = next(iter(ann.find(marker="notice-address").elements))
    address.value = "https://localhost/very-secret"  # type: ignore[attr-defined]
    ann.find(marker="add-notice").click()
    await until(ann, "localhost/…")
    await ann.should_not_see("very-secret")
    ann.find(notices.TRY).click()
    await _said(ann, "private network")
    ann.find(notices.DELETE).click()
    await until(ann, notices.NONE)


async def _said(user: User, text: str) -> None:
    for _ in range(100):
        if any(text in message for message in user.notify.messages):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(user.notify.messages)

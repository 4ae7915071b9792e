"""The app put together, asked over ASGI in this process, which can hold only one such app."""

from __future__ import annotations

import re
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import nicegui
import pytest
import pytest_asyncio
from fastapi import FastAPI
from starlette.routing import Mount, Route

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.app import create_app
from gemma_keras_tune_ui.identity.access import operator
from gemma_keras_tune_ui.parts import Parts
from gemma_keras_tune_ui.settings import LogSettings, Settings
from tests.support.log_lines import Terminal, logging_to
from tests.support.pages import fresh_nicegui

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "violet horses eat 42 pears"
ORIGIN = {"Origin": "http://localhost"}
PUBLIC = {
    "/healthz",
    "/readyz",
    "/setup",
    "/join",
    "/sign-in",
    "/sign-in/oidc",
    "/sign-in/oidc/callback",
    "/favicon.ico",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FastAPI]:
    """The app at work, with nobody's account yet."""
    root = tmp_path_factory.mktemp("root")
    log = Terminal(is_terminal=False)
    with fresh_nicegui(), logging_to(log, LogSettings(level="debug")):
        app = create_app(Settings(root=root, jobs={"disk_reserve_bytes": 2**20}))

        @app.get("/fail", include_in_schema=False)
        def fail() -> None:
            raise RuntimeError("hf_canary1234567 in a traceback")

        app.router.routes.insert(0, app.router.routes.pop())
        async with app.router.lifespan_context(app):
            app.state.log = log
            yield app


@pytest_asyncio.fixture(loop_scope="module")
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without cookies."""
    async with browser(app) as client:
        yield client


def browser(app: FastAPI, address: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, client=(address, 40_000), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def send(http: httpx.AsyncClient, page: str, **fields: str) -> httpx.Response:
    """Opens a page with a form, fills it in, and sends it."""
    form = await http.get(page)
    token = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert token, form.text
    path = page.partition("?")[0]
    return await http.post(path, data={"csrf": token[1], **fields}, headers=ORIGIN)


async def sign_in(http: httpx.AsyncClient, *, next: str = "/") -> httpx.Response:
    return await send(http, "/sign-in", name="ann", password=PASSWORD, next=next)


class TestFirstVisit:
    """In this order: the account is made at the end."""

    async def test_leads_to_the_setup_and_nothing_else_answers(self, http):
        assert (await http.get("/")).headers["location"] == "/sign-in"
        assert (await http.get("/sign-in")).headers["location"] == "/setup"
        page = await http.get("/setup")
        assert page.status_code == 200 and "One-time code" in page.text

    async def test_finds_no_account_and_keys_that_only_the_server_can_read(self, app):
        root = app.state.settings.root
        for path in [root / "secrets", *(root / "secrets").iterdir()]:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        assert await app.state.parts.identity.setup.is_needed()

    async def test_needs_the_code_of_the_terminal(self, http):
        answer = await send(
            http, "/setup", code="guess", name="ann", password=PASSWORD, again=PASSWORD
        )
        assert answer.status_code == 401 and "setup code is wrong" in answer.text

    async def test_tells_what_is_wrong_and_keeps_what_was_typed_but_no_password(self, app, http):
        link = app.state.setup_path
        answer = await send(
            http, link, code=link[-32:], name="<b>ann", password=PASSWORD, again="x"
        )
        assert answer.status_code == 400 and "not the same" in answer.text
        assert 'value="&lt;b&gt;ann"' in answer.text and PASSWORD not in answer.text

    async def test_refuses_a_form_without_its_token(self, app, http):
        fields = {"code": app.state.setup_path[-32:], "name": "ann"}
        passwords = {"password": PASSWORD, "again": PASSWORD}
        answer = await http.post("/setup", data={**fields, **passwords}, headers=ORIGIN)
        assert answer.status_code == 403 and "wasn&#39;t ours" in answer.text

    async def test_refuses_a_form_of_another_site(self, http):
        answer = await http.post("/setup", data={}, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403

    async def test_makes_the_administrator_who_is_signed_in_then(self, app, http):
        link = app.state.setup_path
        code = link.partition("=")[2]
        answer = await send(http, link, code=code, name="Ann", password=PASSWORD, again=PASSWORD)
        assert answer.status_code == 303 and answer.headers["location"] == "/", answer.text
        cookie = answer.headers["set-cookie"].lower()
        assert "gkt=" in cookie and "httponly" in cookie and "samesite=strict" in cookie
        home = await http.get("/")
        assert home.status_code == 200 and "Newest runs" in home.text

    async def test_is_over_once_there_is_an_account(self, http):
        assert (await http.get("/setup")).headers["location"] == "/sign-in"


async def test_signing_in_and_out(http):
    assert (await sign_in(http)).headers["location"] == "/"
    assert (await http.get("/sign-in?next=/x")).headers["location"] == "/x"
    home = await http.get("/")
    token = re.search(r"csrf[^}]{0,40}?value[^A-Za-z0-9_-]+([A-Za-z0-9_.-]{40,})", home.text)
    assert token
    refused = await http.post("/sign-out", data={"csrf": "made-up"}, headers=ORIGIN)
    assert refused.status_code == 403
    out = await http.post("/sign-out", data={"csrf": token[1]}, headers=ORIGIN)
    assert out.status_code == 303
    page = await http.get(out.headers["location"])
    assert "You are signed out." in page.text
    assert (await http.get("/")).status_code == 303


async def test_a_wrong_password_and_an_unknown_name_get_the_same_page(app):
    pages: list[str] = []
    for name in ("ann", "nobody"):
        async with browser(app, f"10.9.9.{len(pages) + 1}") as http:
            answer = await send(http, "/sign-in", name=name, password="wrong wrong wrong")
        assert answer.status_code == 401
        pages.append(re.sub(r'value="[^"]*"', "", answer.text))
    assert pages[0] == pages[1]


async def test_too_many_tries_are_told_when_to_come_back(app):
    async with browser(app, "10.9.9.9") as http:
        for _ in range(6):
            answer = await send(http, "/sign-in", name="carl", password="wrong wrong wrong")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1 and "Try again in" in answer.text


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil", "evil"]
)
async def test_signing_in_leads_to_this_server_only(app, target):
    """CVE-2020-26232, CVE-2023-39968, CVE-2024-22421, CVE-2026-59806."""
    async with browser(app) as http:
        page = await http.get("/sign-in", params={"next": target})
        assert "evil" not in page.text
        assert (await sign_in(http, next=target)).headers["location"] == "/"


async def test_a_session_that_has_ended_is_told_so_and_goes_on_where_it_was(app, http):
    await sign_in(http)
    identity = app.state.parts.identity
    ann = (await identity.accounts.users(operator(identity.workspace_id)))[0]
    await identity.sessions.revoke_all_of(ann.id, actor="system")
    answer = await http.get("/runs?x=1")
    assert answer.headers["location"] == "/sign-in?next=%2Fruns%3Fx%3D1"
    page = await http.get(answer.headers["location"])
    assert "Your session has ended." in page.text and 'value="/runs?x=1"' in page.text


async def test_without_single_sign_on_there_is_no_button_and_no_way(http):
    assert "Sign in with" not in (await http.get("/sign-in")).text
    answer = await http.get("/sign-in/oidc")
    assert answer.status_code == 404 and "no single sign-on" in answer.text


def all_paths(app: FastAPI) -> set[str]:
    """Every path that has a route, here and in the mounted NiceGUI, with made-up parameters."""
    found = set()
    pending = [("", route) for route in [*app.routes, *nicegui.app.routes]]
    while pending:
        prefix, route = pending.pop()
        if isinstance(route, Mount):
            pending += [(prefix + route.path, inner) for inner in route.routes]
            found.add(f"{prefix}{route.path}/x")
        elif isinstance(route, Route):
            found.add(prefix + re.sub(r"\{[^}]*\}", "x", route.path))
        elif inner := getattr(route, "routes", None) or getattr(route, "original_router", None):
            pending += [(prefix, one) for one in getattr(inner, "routes", inner)]
    return found


async def test_every_route_wants_a_session_but_those_that_are_listed(app, http):
    """CVE-2026-0545, CVE-2026-2652: a middleware that covered some prefixes only."""
    paths = all_paths(app)
    assert {"/", "/fail", "/metrics", "/healthz"} <= paths and len(paths) > 10
    for path in sorted(paths):
        files = path.startswith(f"/_nicegui/{nicegui.__version__}/")
        for method in ("GET", "POST", "DELETE"):
            answer = await http.request(method, path, headers=ORIGIN)
            if path in PUBLIC or (files and "dynamic_resources" not in path):
                continue
            is_refused = answer.status_code in (401, 403, 404, 415)
            is_sent_away = answer.headers.get("location", "").startswith("/sign-in")
            assert is_refused or is_sent_away, (method, path, answer.status_code)


async def test_no_documentation_and_no_debugger_is_served(http):
    await sign_in(http)
    for path in ("/docs", "/redoc", "/openapi.json", "/_nicegui/x"):
        assert (await http.get(path)).status_code == 404, path


async def test_an_error_of_ours_shows_an_id_and_nothing_else(http):
    await sign_in(http)
    answer = await http.get("/fail")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "canary" not in answer.text and "Traceback" not in answer.text
    assert "content-security-policy" in answer.headers


async def test_health_says_that_it_lives_and_whether_it_is_ready(app, http, monkeypatch):
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    health = app.state.parts.health

    async def asked() -> httpx.Response:
        health._answer = (float("-inf"), {})
        return await http.get("/readyz")

    assert (await asked()).status_code == 200
    monkeypatch.setattr(health, "_is_supervising", lambda: False)
    answer = await asked()
    assert answer.status_code == 503
    checks = {"database": "ok", "supervisor": "failed", "disk": "ok"}
    assert answer.json() == {"status": "failed", "checks": checks}
    monkeypatch.setattr(health, "_reserve_bytes", 2**62)
    assert (await asked()).json()["checks"]["disk"] == "failed"


async def test_metrics_are_for_administrators_by_token_or_session(app, http):
    assert (await http.get("/metrics", headers={"Accept": "text/plain"})).status_code in (303, 401)
    await sign_in(http)
    text = (await http.get("/metrics")).text
    assert 'gkt_http_requests_total{method="POST",route="/sign-in",status="303"}' in text
    assert "gkt_sessions " in text and "gkt_loop_lag_seconds_count" in text
    assert 'route="/metrics"' in text or 'route="/"' in text
    parts: Parts = app.state.parts
    raw_id = http.cookies["gkt"]
    ann = await parts.identity.sessions.principal_of(raw_id)
    assert ann is not None
    ends = datetime.now(UTC) + timedelta(days=1)
    for scopes, status in ((["admin"], 200), (["read", "write", "run"], 403)):
        _, token = await parts.identity.tokens.create(
            ann, name="scraper", scopes=scopes, expires_at=ends
        )
        async with browser(app) as scraper:
            answer = await scraper.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status


async def test_a_route_that_is_not_there_makes_no_new_metric(app, http):
    await sign_in(http)
    for number in range(5):
        await http.get(f"/made-up-{number}")
    text = (await http.get("/metrics")).text
    assert "made-up" not in text


async def test_a_second_server_on_the_root_is_refused_with_who_holds_it(app):
    from gemma_keras_tune_ui.data_root import held, refuse_second_server

    root = app.state.settings.root
    with pytest.raises(TuneError) as caught:
        refuse_second_server(root)
    assert caught.value.code == "SERVER_RUNNING" and "process" in str(caught.value)
    with pytest.raises(TuneError), held(root):
        raise AssertionError("held twice")

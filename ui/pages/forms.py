"""Setup, invitations, signing in and signing out: plain HTML forms, which work without JavaScript.

They stand before the session, so nothing of NiceGUI is in them. A form carries a token that is
bound to a random cookie of the browser, or to the session that it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gemma_keras_tune.errors import TuneError

from ..gate.cookies import clear_session, session_id, set_session
from ..gate.rules import local_path
from ..identity.csrf import FIELD
from ..identity.oidc import FLOW_LASTS_S
from ..identity.passwords import SHORTEST
from ..identity.people import NAME_AS_TYPED
from ..identity.refusals import NotFound, Refusal, TooManyRequests
from ..parts import Parts, parts_of

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_FIELDS = 8
_NAME_RULE = "Letters a-z, digits and . _ @ + -, no spaces."
_NOTICES = {
    "out": "You are signed out.",
    "ended": "Your session has ended. Sign in to go on where you were.",
}


def register(app: FastAPI) -> None:
    """Adds the pages."""
    for path, method, answer in (
        ("/setup", "GET", _show_setup),
        ("/setup", "POST", _make_administrator),
        ("/join", "GET", _show_invitation),
        ("/join", "POST", _accept_invitation),
        ("/sign-in", "GET", _show_sign_in),
        ("/sign-in", "POST", _sign_in),
        ("/sign-in/oidc", "GET", _leave_for_provider),
        ("/sign-in/oidc/callback", "GET", _come_back),
        ("/sign-out", "POST", _sign_out),
    ):
        app.add_api_route(path, answer, methods=[method], include_in_schema=False)


def page(template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """A page of `templates`, with everything that is put into it escaped."""
    return HTMLResponse(_environment().get_template(template).render(values), status)


async def _show_setup(request: Request) -> Response:
    parts = parts_of(request)
    if not await parts.identity.setup.is_needed():
        return RedirectResponse("/sign-in", 303)
    return _setup_page(request, code=request.query_params.get("code", ""))


async def _make_administrator(request: Request) -> Response:
    parts, form = parts_of(request), await _form(request)
    name, code = _text(form, "name"), _text(form, "code")
    password = _text(form, "password")
    try:
        _check_form(request, form)
        if password != _text(form, "again"):
            raise TuneError("The two passwords are not the same.", code="PASSWORDS_DIFFER")
        user = await parts.identity.setup.create_first_admin(
            code,
            name=name,
            display_name=name.strip(),
            password=password,
            address=_address(request),
        )
    except TuneError as error:
        return _setup_page(request, code=code, name=name, error=error)
    return await _signed_in(request, user.id, user.workspace_id, going_to="/")


async def _show_invitation(request: Request) -> Response:
    return await _join_page(request, code=request.query_params.get("code", ""))


async def _accept_invitation(request: Request) -> Response:
    """Makes the account of whoever has the link, or takes in whoever is signed in."""
    parts, form, who = parts_of(request), await _form(request), request.state.principal
    code, name, shown = (_text(form, field) for field in ("code", "name", "shown"))
    invitations, address = parts.identity.invitations, _address(request)
    try:
        _check_form(request, form)
        if who is not None:
            workspace_id = await invitations.join(who, code, address=address)
            return await _signed_in(request, who.user_id, workspace_id, going_to="/")
        password = _text(form, "password")
        if password != _text(form, "again"):
            raise TuneError("The two passwords are not the same.", code="PASSWORDS_DIFFER")
        user = await invitations.accept(
            code, name=name, display_name=shown.strip() or name.strip(), password=password,
            address=address,
        )  # fmt: skip
    except TuneError as error:
        return await _join_page(request, code=code, name=name, shown=shown, error=error)
    return await _signed_in(request, user.id, user.workspace_id, going_to="/")


async def _join_page(
    request: Request, *, code: str, name: str = "", shown: str = "", error: TuneError | None = None
) -> Response:
    """What the link offers, with the form to take it; only the reason if it is worth nothing."""
    who, workspace, role = request.state.principal, "", ""
    try:
        invitations = parts_of(request).identity.invitations
        offer = await invitations.offer(code, address=_address(request))
        workspace, role = offer.workspace, offer.role.label
    except TuneError as worthless:
        error = worthless
    return _form_page(
        request, "join.html", error, code=code, name=name, shown=shown, workspace=workspace,
        role=role, signed_in=who.name if who else "", shortest=SHORTEST,
    )  # fmt: skip


async def _show_sign_in(request: Request) -> Response:
    parts = parts_of(request)
    going_to = local_path(request.query_params.get("next"))
    if request.state.principal is not None:
        return RedirectResponse(going_to, 303)
    if await parts.identity.setup.is_needed():
        return RedirectResponse("/setup", 303)
    notice = request.query_params.get("notice", "")
    if not notice and session_id(request.scope, is_https=parts.settings.is_https):
        notice = "ended"
    return _sign_in_page(request, going_to=going_to, notice=_NOTICES.get(notice, ""))


async def _sign_in(request: Request) -> Response:
    parts, form = parts_of(request), await _form(request)
    name, going_to = _text(form, "name"), local_path(_text(form, "next"))
    try:
        _check_form(request, form)
        user = await parts.identity.accounts.sign_in(
            name, _text(form, "password"), address=_address(request)
        )
    except TuneError as error:
        return _sign_in_page(request, going_to=going_to, name=name, error=error)
    return await _signed_in(request, user.id, user.workspace_id, going_to=going_to)


async def _leave_for_provider(request: Request) -> Response:
    parts = parts_of(request)
    oidc, next_path = parts.identity.oidc, local_path(request.query_params.get("next"))
    if oidc is None:
        return _sign_in_page(request, going_to=next_path, error=_no_oidc())
    callback = parts.settings.public_url or str(request.base_url).rstrip("/")
    try:
        url, flow = await oidc.begin(f"{callback}/sign-in/oidc/callback", next_path)
    except TuneError as error:
        return _sign_in_page(request, going_to=next_path, error=error)
    answer = RedirectResponse(url, 303)
    _set_cookie(answer, parts, "oidc", flow, same_site="lax", seconds=FLOW_LASTS_S)
    return answer


async def _come_back(request: Request) -> Response:
    parts = parts_of(request)
    oidc, flow = parts.identity.oidc, request.cookies.get(_cookie(parts, "oidc"), "")
    try:
        if oidc is None:
            raise _no_oidc()
        user, next_path = await oidc.finish(flow, request.query_params, address=_address(request))
    except TuneError as error:
        return _sign_in_page(request, going_to="/", error=error)
    return await _signed_in(request, user.id, user.workspace_id, going_to=local_path(next_path))


async def _sign_out(request: Request) -> Response:
    parts, form = parts_of(request), await _form(request)
    principal = request.state.principal
    parts.identity.csrf.check(_text(form, FIELD), principal.session_hash or "")
    await parts.identity.sessions.sign_out(principal)
    answer = RedirectResponse("/sign-in?notice=out", 303)
    clear_session(answer, is_https=parts.settings.is_https)
    return answer


async def _signed_in(
    request: Request, user_id: str, workspace_id: str, *, going_to: str
) -> Response:
    """A fresh session in the place of whatever the browser had."""
    parts = parts_of(request)
    is_https = parts.settings.is_https
    raw_id = await parts.identity.sessions.open(
        user_id,
        workspace_id,
        address=_address(request),
        agent=request.headers.get("user-agent", ""),
        replaces=session_id(request.scope, is_https=is_https),
    )
    answer = RedirectResponse(going_to, 303)
    seconds = parts.settings.sessions.absolute_hours * 3600
    set_session(answer, raw_id, is_https=is_https, same_site=parts.same_site, seconds=seconds)
    for kind in ("form", "oidc"):
        answer.delete_cookie(_cookie(parts, kind), path="/", secure=is_https, httponly=True)
    return answer


def _setup_page(
    request: Request, *, code: str, name: str = "", error: TuneError | None = None
) -> Response:
    return _form_page(request, "setup.html", error, code=code, name=name, shortest=SHORTEST)


def _sign_in_page(
    request: Request,
    *,
    going_to: str,
    name: str = "",
    notice: str = "",
    error: TuneError | None = None,
) -> Response:
    parts = parts_of(request)
    sso = parts.settings.oidc.name if parts.settings.oidc.issuer else ""
    values = {"name": name, "notice": notice, "sso": sso, "next": going_to}
    return _form_page(request, "sign_in.html", error, **values)


def _form_page(request: Request, template: str, error: TuneError | None, **values: Any) -> Response:
    """The page with a token for its form, bound to the browser's cookie or to a new one."""
    parts = parts_of(request)
    visitor = request.cookies.get(_cookie(parts, "form"), "")
    is_new = not parts.identity.csrf.is_visitor(visitor)
    if is_new:
        visitor = parts.identity.csrf.visitor()
    status = error.status if isinstance(error, Refusal) else 400 if error else 200
    shown = {
        "notice": "",
        "error": str(error or ""),
        "csrf": parts.identity.csrf.token(visitor),
        "pattern": NAME_AS_TYPED,
        "name_rule": _NAME_RULE,
    }
    answer = page(template, {**shown, **values}, status=status)
    if isinstance(error, TooManyRequests):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if is_new:
        _set_cookie(answer, parts, "form", visitor, same_site="strict")
    return answer


async def _form(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=_MOST_FIELDS, max_part_size=16_384)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _check_form(request: Request, form: FormData) -> None:
    parts = parts_of(request)
    parts.identity.csrf.check(_text(form, FIELD), request.cookies.get(_cookie(parts, "form"), ""))


def _cookie(parts: Parts, kind: str) -> str:
    return f"__Host-gkt-{kind}" if parts.settings.is_https else f"gkt-{kind}"


def _set_cookie(
    answer: Response,
    parts: Parts,
    kind: str,
    value: str,
    *,
    same_site: Literal["lax", "strict"],
    seconds: int | None = None,
) -> None:
    answer.set_cookie(
        _cookie(parts, kind),
        value,
        max_age=seconds,
        path="/",
        secure=parts.settings.is_https,
        httponly=True,
        samesite=same_site,
    )


def _no_oidc() -> NotFound:
    return NotFound("This server has no single sign-on.", code="OIDC_OFF")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined
    )

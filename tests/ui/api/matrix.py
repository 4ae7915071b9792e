"""Routes x roles x workspaces: who may do what, written by hand, and a request for each route.

python -m tests.ui.api.matrix      # writes docs/access_matrix.md from what the app answers
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from gemma_keras_tune.run_folder import RunFolder, open_for_writing
from gemma_keras_tune_ui.api.openapi import is_of_api
from gemma_keras_tune_ui.identity.access import RULES, Action, Role, operator
from gemma_keras_tune_ui.notices.senders import Message
from tests.ui.api.world import PASSWORD, Person, World, open_world, write_run

PAGE = Path(__file__).parents[3] / "docs" / "access_matrix.md"
Route = tuple[str, str]

# By hand, so that a route that asks for another action, or for none, is found.
ANYBODY = None  # whoever is signed in
ROUTES: dict[Route, Action | None] = {
    ("GET", "/session"): ANYBODY,
    ("POST", "/session/workspace"): Action.OWN_ACCOUNT,
    ("POST", "/session/password"): Action.OWN_ACCOUNT,
    ("GET", "/sessions"): Action.OWN_ACCOUNT,
    ("DELETE", "/sessions/{session_id}"): Action.OWN_ACCOUNT,
    ("GET", "/tokens"): Action.OWN_ACCOUNT,
    ("POST", "/tokens"): Action.OWN_ACCOUNT,
    ("DELETE", "/tokens/{token_id}"): Action.OWN_ACCOUNT,
    ("GET", "/notice-targets"): Action.OWN_ACCOUNT,
    ("POST", "/notice-targets"): Action.OWN_ACCOUNT,
    ("POST", "/notice-targets/{target_id}/try"): Action.OWN_ACCOUNT,
    ("DELETE", "/notice-targets/{target_id}"): Action.OWN_ACCOUNT,
    ("GET", "/recipes"): Action.VIEW_RECIPES,
    ("GET", "/recipes/schema"): Action.VIEW_RECIPES,
    ("POST", "/recipes/check"): Action.VIEW_RECIPES,
    ("GET", "/recipes/{recipe_name}"): Action.VIEW_RECIPES,
    ("POST", "/uploads"): Action.UPLOAD_DATA,
    ("GET", "/uploads"): Action.UPLOAD_DATA,
    ("GET", "/uploads/{upload_id}"): Action.UPLOAD_DATA,
    ("HEAD", "/uploads/{upload_id}"): Action.UPLOAD_DATA,
    ("PATCH", "/uploads/{upload_id}"): Action.UPLOAD_DATA,
    ("POST", "/uploads/{upload_id}/finish"): Action.UPLOAD_DATA,
    ("DELETE", "/uploads/{upload_id}"): Action.UPLOAD_DATA,
    ("GET", "/datasets"): Action.VIEW_DATA,
    ("POST", "/datasets"): Action.CREATE_DATASET,
    ("GET", "/datasets/{dataset_id}"): Action.VIEW_DATA,
    ("PATCH", "/datasets/{dataset_id}"): Action.CHANGE_DATA,
    ("DELETE", "/datasets/{dataset_id}"): Action.DELETE_DATA,
    ("POST", "/datasets/{dataset_id}/check"): Action.SUBMIT_DATA,
    ("POST", "/datasets/{dataset_id}/preview"): Action.SUBMIT_DATA,
    ("POST", "/datasets/{dataset_id}/columns"): Action.SUBMIT_DATA,
    ("POST", "/jobs"): Action.SUBMIT_EVALUATE,
    ("GET", "/jobs"): Action.VIEW_JOBS,
    ("GET", "/jobs/{job_id}"): Action.VIEW_JOBS,
    ("POST", "/jobs/{job_id}/cancel"): Action.CANCEL_JOB,
    ("POST", "/jobs/{job_id}/pause"): Action.PAUSE_JOB,
    ("POST", "/jobs/{job_id}/resume"): Action.RESUME_JOB,
    ("POST", "/jobs/{job_id}/priority"): Action.RANK_JOBS,
    ("GET", "/jobs/{job_id}/result"): Action.VIEW_JOBS,
    ("GET", "/jobs/{job_id}/log"): Action.DOWNLOAD,
    ("GET", "/jobs/{job_id}/table"): Action.DOWNLOAD,
    ("GET", "/jobs/{job_id}/events"): Action.VIEW_EVENTS,
    ("GET", "/runs"): Action.VIEW_RUNS,
    ("POST", "/runs/adopt"): Action.ADOPT_FOLDER,
    ("GET", "/runs/{run_id}"): Action.VIEW_RUNS,
    ("PATCH", "/runs/{run_id}"): Action.TAG_RUN,
    ("DELETE", "/runs/{run_id}"): Action.DELETE_RUN,
    ("POST", "/runs/{run_id}/control"): Action.CONTROL_RUN,
    ("GET", "/runs/{run_id}/report"): Action.VIEW_RUNS,
    ("GET", "/runs/{run_id}/log"): Action.DOWNLOAD,
    ("GET", "/runs/{run_id}/events"): Action.VIEW_EVENTS,
    ("GET", "/runs/{run_id}/artifacts"): Action.VIEW_ARTIFACTS,
    ("GET", "/runs/{run_id}/artifacts/{format}"): Action.VIEW_ARTIFACTS,
    ("DELETE", "/runs/{run_id}/artifacts/{format}"): Action.DELETE_ARTIFACT,
    ("GET", "/runs/{run_id}/artifacts/{format}/archive"): Action.DOWNLOAD,
    ("GET", "/runs/{run_id}/artifacts/{format}/files/{name:path}"): Action.DOWNLOAD,
    ("GET", "/runs/{run_id}/files/{name}"): Action.DOWNLOAD,
    ("GET", "/runs/{run_id}/predictions.csv"): Action.DOWNLOAD,
    ("GET", "/runs/{run_id}/curves.csv"): Action.DOWNLOAD,
    ("GET", "/workspaces"): Action.VIEW_MEMBERS,
    ("POST", "/workspaces"): Action.CREATE_WORKSPACE,
    ("PATCH", "/workspace"): Action.RENAME_WORKSPACE,
    ("GET", "/members"): Action.VIEW_MEMBERS,
    ("POST", "/members"): Action.MANAGE_MEMBERS,
    ("PATCH", "/members/{user_id}"): Action.MANAGE_MEMBERS,
    ("DELETE", "/members/{user_id}"): Action.MANAGE_MEMBERS,
    ("GET", "/quotas"): Action.VIEW_QUOTAS,
    ("PUT", "/quotas"): Action.MANAGE_QUOTAS,
    ("GET", "/invitations"): Action.MANAGE_USERS,
    ("POST", "/invitations"): Action.MANAGE_USERS,
    ("DELETE", "/invitations/{invitation_id}"): Action.MANAGE_USERS,
    ("GET", "/users"): Action.MANAGE_USERS,
    ("POST", "/users"): Action.MANAGE_USERS,
    ("PATCH", "/users/{user_id}"): Action.MANAGE_USERS,
    ("POST", "/users/{user_id}/password"): Action.MANAGE_USERS,
    ("GET", "/secrets"): Action.VIEW_SECRET_NAMES,
    ("PUT", "/secrets/{secret_name}"): Action.PUT_SECRET,
    ("DELETE", "/secrets/{secret_name}"): Action.DELETE_SECRET,
    ("GET", "/audit"): Action.VIEW_AUDIT,
    ("GET", "/audit/verify"): Action.VERIFY_AUDIT,
    ("GET", "/openapi.json"): ANYBODY,
    ("GET", "/docs"): ANYBODY,
}

COLUMNS = {
    "nobody": "signed out",
    "viewer": "viewer",
    "editor": "editor",
    "admin": "admin",
    "owner": "owner",
    "server": "viewer, server admin",
    "token-read": "token: read",
    "token-write": "token: write",
    "token-run": "token: run",
    "token-admin": "token: admin",
}
"""Who asks, and what the page calls them. The tokens are of an owner who is a server admin."""


@dataclass(frozen=True)
class Sent:
    """One request."""

    values: dict[str, str]
    body: Any = None
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None


Make = Callable[[World, Person, str], Awaitable[Sent]]
WHERES = ("here", "there", "missing")


def routes_of(world: World) -> set[Route]:
    """Every route of the API that the app has."""
    return {
        (method, route.path.removeprefix("/api/v1"))
        for route in world.app.routes
        if is_of_api(route) and isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def may(person: Person, action: Action | None) -> bool:
    """What the rules say, worked out apart from `authorize`."""
    if person.role is None:
        return False
    if action is None:
        return True
    rule = RULES[action]
    if person.scopes is not None and (rule.scope is None or rule.scope not in person.scopes):
        return False
    if rule.role is None:
        return person.is_server_admin
    return person.role >= rule.role


async def send(world: World, route: Route, who: Person, where: str) -> int:
    """The status that the app answers with."""
    made = await REQUESTS.get(route, nothing)(world, who, where)
    path = route[1].replace("{name:path}", "{name}").format(**made.values)
    more: dict[str, Any] = {"headers": dict(made.headers)}
    if made.content is not None:
        more["content"] = made.content
    answer = await world.ask(who, route[0], path + made.query, made.body, **more)
    return answer.status_code


@asynccontextmanager
async def people(world: World) -> AsyncIterator[dict[str, Person]]:
    """Everybody who asks."""
    await world.person("server", Role.VIEWER, is_server_admin=True)
    for scope in ("read", "write", "run", "admin"):
        await world.person(f"token-{scope}", Role.OWNER, is_server_admin=True, scope=scope)
    yield {name: world.people[name] for name in COLUMNS}


async def nothing(world: World, who: Person, where: str) -> Sent:
    return Sent({})


def _body(body: Any, query: str = "") -> Make:
    async def make(world: World, who: Person, where: str) -> Sent:
        return Sent({}, body, query)

    return make


def _place(world: World, who: Person, where: str) -> tuple[str, str]:
    """Workspace and owner of what is asked for."""
    if where == "there":
        return world.there, world.people["eve"].user_id
    return world.here, who.user_id or world.people["editor"].user_id


async def _run(world: World, who: Person, where: str) -> str:
    return "20261122-000000-000-none" if where == "missing" else await _a_run(world, who, where)


async def _a_run(world: World, who: Person, where: str) -> str:
    workspace, user = _place(world, who, where)
    return await world.run(workspace, user)


def _of_run(body: Any = None, query: str = "", **values: str) -> Make:
    async def make(world: World, who: Person, where: str) -> Sent:
        return Sent({"run_id": await _run(world, who, where), **values}, body, query)

    return make


async def _logged_run(world: World, who: Person, where: str) -> Sent:
    run = await _run(world, who, where)
    if where != "missing":
        workspace, user = _place(world, who, where)
        await world.job(workspace, user, kind="train", run=run)
    return Sent({"run_id": run})


async def _control(world: World, who: Person, where: str) -> Sent:
    run = await _run(world, who, where)
    if where != "missing":  # somebody must work on it; let go when the world ends
        world.app.state.held.enter_context(open_for_writing(RunFolder(world.root / "runs" / run)))
    return Sent({"run_id": run}, {"command": "checkpoint"})


def _of_job(state: str, body: Any = None, query: str = "", *, kind: str = "data") -> Make:
    async def make(world: World, who: Person, where: str) -> Sent:
        workspace, user = _place(world, who, where)
        known = where != "missing"
        job = await world.job(workspace, user, state=state, kind=kind) if known else "0" * 32
        return Sent({"job_id": job}, body, query)

    return make


def _of_dataset(body: Any = None) -> Make:
    async def make(world: World, who: Person, where: str) -> Sent:
        workspace, user = _place(world, who, where)
        known = where != "missing"
        return Sent(
            {"dataset_id": await world.dataset(workspace, user) if known else "0" * 32}, body
        )

    return make


def _of_upload(*, is_whole: bool = False, as_body: bool = False, is_piece: bool = False) -> Make:
    async def make(world: World, who: Person, where: str) -> Sent:
        workspace, user = _place(world, who, where)
        known = where != "missing"
        id = await world.upload(workspace, user, is_whole=is_whole) if known else "0" * 32
        if as_body:
            return Sent({}, {"upload": id})
        if not is_piece:
            return Sent({"upload_id": id})
        headers = (("Upload-Offset", "0"), ("Content-Type", "application/offset+octet-stream"))
        return Sent({"upload_id": id}, headers=headers, content=b"text,label\n")

    return make


async def _evaluate(world: World, who: Person, where: str) -> Sent:
    return Sent({}, {"kind": "evaluate", "run": await _run(world, who, where)})


async def _switch(world: World, who: Person, where: str) -> Sent:
    wanted = {"here": world.here, "there": world.there, "missing": "0" * 32}
    return Sent({}, {"workspace_id": wanted[where]})


async def _password(world: World, who: Person, where: str) -> Sent:
    new = secrets.token_urlsafe(12)
    old, who.password = who.password, new if may(who, Action.OWN_ACCOUNT) else who.password
    return Sent({}, {"current": old, "new": new})


async def _session(world: World, who: Person, where: str) -> Sent:
    id = "0" * 32
    if where != "missing":
        owner = who if where == "here" and who.role else world.people["eve"]
        identity = world.parts.identity
        await identity.sessions.open(owner.user_id, owner.workspace_id, address="", agent="x")
        id = next(
            one.public_id
            for one in await identity.sessions.list_of(owner.principal)
            if one.agent == "x"
        )
    return Sent({"session_id": id})


async def _token(world: World, who: Person, where: str) -> Sent:
    from datetime import UTC, datetime, timedelta

    if where == "missing":
        return Sent({"token_id": "0" * 32})
    owner = who if where == "here" and who.role else world.people["eve"]
    until = datetime.now(UTC) + timedelta(days=1)
    made, _ = await world.parts.identity.tokens.create(
        owner.principal, name="x", scopes=["read"], expires_at=until
    )
    return Sent({"token_id": made.id})


@dataclass(frozen=True)
class _OpenPage:
    """A page that somebody looks at, which shows whatever it is told to."""

    user_id: str

    async def show(self, message: Message) -> bool:
        return True


async def _target(world: World, who: Person, where: str) -> Sent:
    if where == "missing":
        return Sent({"target_id": "0" * 32})
    owner = who if where == "here" and who.role else world.people["eve"]
    notices = world.parts.notices
    made = await notices.targets.add(replace(owner.principal, scopes=None), "browser", "")
    notices.pages.enter(made.id, _OpenPage(owner.user_id))
    return Sent({"target_id": made.id})


async def _invitation(world: World, who: Person, where: str) -> Sent:
    if where == "missing":
        return Sent({"invitation_id": "0" * 32})
    maker = operator(world.there if where == "there" else world.here)
    maker = replace(maker, user_id=world.people["root"].user_id)
    made, _ = await world.parts.identity.invitations.create(maker, Role.VIEWER)
    return Sent({"invitation_id": made.id})


def _of_user(body: Any = None, *, is_of_server: bool = False) -> Make:
    async def make(world: World, who: Person, where: str) -> Sent:
        if where == "missing":
            return Sent({"user_id": "0" * 32}, body)
        place = world.there if where == "there" else world.here
        guest = await world.person(f"g{secrets.token_hex(4)}", Role.VIEWER, place)
        return Sent({"user_id": guest.user_id}, body)

    return make


async def _new_member(world: World, who: Person, where: str) -> Sent:
    guest = await world.person(f"g{secrets.token_hex(4)}", Role.VIEWER, world.there)
    return Sent({}, {"name": guest.name, "role": "viewer"})


async def _new_user(world: World, who: Person, where: str) -> Sent:
    name = f"g{secrets.token_hex(4)}"
    return Sent({}, {"name": name, "display_name": name, "password": PASSWORD})


async def _quota(world: World, who: Person, where: str) -> Sent:
    user = {"here": None, "there": world.people["eve"].user_id, "missing": "0" * 32}[where]
    return Sent({}, {"user_id": user, "queued_jobs": 9999})


async def _secret(world: World, who: Person, where: str) -> Sent:
    name = f"S{secrets.token_hex(4)}"
    place = {"here": world.people["root"], "there": world.people["eve"]}.get(where)
    if place is not None:
        await world.parts.identity.vault.put(place.principal, name, "x")
    return Sent({"secret_name": name})


async def _adopt(world: World, who: Person, where: str) -> Sent:
    folder = RunFolder(Path(tempfile.mkdtemp(dir=world.root.parent)) / secrets.token_hex(4))
    write_run(folder)
    return Sent({}, {"path": str(folder.path)})


_LOOK = {"wait_s": 0}
_NEW_UPLOAD = {"purpose": "dataset", "name": "a.csv", "size": 10}
REQUESTS: dict[Route, Make] = {
    ("POST", "/session/workspace"): _switch,
    ("POST", "/session/password"): _password,
    ("DELETE", "/sessions/{session_id}"): _session,
    ("POST", "/tokens"): _body({"name": "t", "scopes": ["read"]}),
    ("DELETE", "/tokens/{token_id}"): _token,
    ("POST", "/notice-targets"): _body({"kind": "browser"}),
    ("POST", "/notice-targets/{target_id}/try"): _target,
    ("DELETE", "/notice-targets/{target_id}"): _target,
    ("POST", "/recipes/check"): _body({"recipe_name": "spam_classifier"}),
    ("GET", "/recipes/{recipe_name}"): lambda w, p, where: _recipe(where),
    ("POST", "/uploads"): _body(_NEW_UPLOAD),
    ("GET", "/uploads/{upload_id}"): _of_upload(),
    ("HEAD", "/uploads/{upload_id}"): _of_upload(),
    ("PATCH", "/uploads/{upload_id}"): _of_upload(is_piece=True),
    ("POST", "/uploads/{upload_id}/finish"): _of_upload(is_whole=True),
    ("DELETE", "/uploads/{upload_id}"): _of_upload(),
    ("POST", "/datasets"): _of_upload(is_whole=True, as_body=True),
    ("GET", "/datasets/{dataset_id}"): _of_dataset(),
    ("PATCH", "/datasets/{dataset_id}"): _of_dataset({"name": "new"}),
    ("DELETE", "/datasets/{dataset_id}"): _of_dataset(),
    ("POST", "/datasets/{dataset_id}/check"): _of_dataset(_LOOK),
    ("POST", "/datasets/{dataset_id}/preview"): _of_dataset(_LOOK),
    ("POST", "/datasets/{dataset_id}/columns"): _of_dataset(_LOOK),
    ("POST", "/jobs"): _evaluate,
    ("GET", "/jobs/{job_id}"): _of_job("done"),
    ("POST", "/jobs/{job_id}/cancel"): _of_job("paused"),
    ("POST", "/jobs/{job_id}/pause"): _of_job("paused"),
    ("POST", "/jobs/{job_id}/resume"): _of_job("paused"),
    ("POST", "/jobs/{job_id}/priority"): _of_job("paused", {"priority": 1}),
    ("GET", "/jobs/{job_id}/result"): _of_job("done"),
    ("GET", "/jobs/{job_id}/log"): _of_job("done"),
    ("GET", "/jobs/{job_id}/table"): _of_job("done", kind="answer"),
    ("GET", "/jobs/{job_id}/events"): _of_job("done", None, "?follow=false"),
    ("POST", "/runs/adopt"): _adopt,
    ("GET", "/runs/{run_id}"): _of_run(),
    ("PATCH", "/runs/{run_id}"): _of_run({"name": "new"}),
    ("DELETE", "/runs/{run_id}"): _of_run(),
    ("POST", "/runs/{run_id}/control"): _control,
    ("GET", "/runs/{run_id}/report"): _of_run(),
    ("GET", "/runs/{run_id}/log"): _logged_run,
    ("GET", "/runs/{run_id}/events"): _of_run(None, "?follow=false"),
    ("GET", "/runs/{run_id}/artifacts"): _of_run(),
    ("GET", "/runs/{run_id}/artifacts/{format}"): _of_run(format="hf"),
    ("DELETE", "/runs/{run_id}/artifacts/{format}"): _of_run(format="hf"),
    ("GET", "/runs/{run_id}/artifacts/{format}/archive"): _of_run(format="hf"),
    ("GET", "/runs/{run_id}/artifacts/{format}/files/{name:path}"): _of_run(
        format="hf", name="model.safetensors"
    ),
    ("GET", "/runs/{run_id}/files/{name}"): _of_run(name="report.md"),
    ("GET", "/runs/{run_id}/predictions.csv"): _of_run(),
    ("GET", "/runs/{run_id}/curves.csv"): _of_run(),
    ("POST", "/workspaces"): _body({"name": "Another"}),
    ("PATCH", "/workspace"): _body({"name": "Renamed"}),
    ("POST", "/members"): _new_member,
    ("PATCH", "/members/{user_id}"): _of_user({"role": "editor"}),
    ("DELETE", "/members/{user_id}"): _of_user(),
    ("PUT", "/quotas"): _quota,
    ("POST", "/invitations"): _body({"role": "viewer", "meant_for": "a guest"}),
    ("DELETE", "/invitations/{invitation_id}"): _invitation,
    ("POST", "/users"): _new_user,
    ("PATCH", "/users/{user_id}"): _of_user({"is_disabled": True}),
    ("POST", "/users/{user_id}/password"): _of_user(),
    ("PUT", "/secrets/{secret_name}"): lambda w, p, where: _value(w, p, where),
    ("DELETE", "/secrets/{secret_name}"): _secret,
}

NOT_OF_A_WORKSPACE = {
    ("PATCH", "/users/{user_id}"),
    ("POST", "/users/{user_id}/password"),
}
"""Routes with an id, about the whole server: there `there` is as good as `here`."""

WITH_IDS_IN_THE_BODY = {
    ("POST", "/datasets"),
    ("POST", "/jobs"),
    ("POST", "/session/workspace"),
    ("PUT", "/quotas"),
}


def is_about_something(route: Route) -> bool:
    """Whether a request names a thing of a workspace, or of a person."""
    names = "{" in route[1] and route not in {
        ("GET", "/recipes/{recipe_name}"),
        ("PUT", "/secrets/{secret_name}"),
    }
    return names or route in WITH_IDS_IN_THE_BODY


async def _recipe(where: str) -> Sent:
    return Sent({"recipe_name": "spam_classifier"})


async def _value(world: World, who: Person, where: str) -> Sent:
    return Sent({"secret_name": "HF_TOKEN"}, {"value": "x"})


async def observe(world: World) -> dict[Route, dict[str, int]]:
    """What every route answers to everybody, about a thing of their own workspace."""
    from contextlib import ExitStack

    async with people(world) as everybody:
        with ExitStack() as held:
            world.app.state.held = held
            return {
                route: {
                    name: await send(world, route, who, "here") for name, who in everybody.items()
                }
                for route in ROUTES
            }


def page(seen: dict[Route, dict[str, int]], elsewhere: dict[Route, int]) -> str:
    """The page with what was seen."""
    head = ["route", "action", *COLUMNS.values(), "another workspace's"]
    lines = [
        "# Who may do what over the API",
        "",
        "<!-- Written by `python -m tests.ui.api.matrix` from the app's answers. -->",
        "",
        "Every route of `/api/v1`, asked by everybody, as the app answered: **yes**, or the status",
        "of the refusal. The tokens are of an owner who is also an administrator of the server, so",
        "that only their one scope limits them. The last column: an owner who asks for a thing of",
        "another workspace, or of another person. A test asks all of it at every change.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for route, answers in seen.items():
        action = ROUTES[route]
        cells = ["yes" if answers[name] < 400 else str(answers[name]) for name in COLUMNS]
        other = str(elsewhere[route]) if route in elsewhere else "-"
        shown = "-" if action is None else f"`{action.value}`"
        lines.append(f"| `{route[0]} {route[1]}` | {shown} | {' | '.join(cells)} | {other} |")
    return "\n".join(lines) + "\n"


def asker(world: World, route: Route) -> Person:
    """Somebody who may do it in their own workspace."""
    action = ROUTES[route]
    return world.people["root" if action is not None and action.is_of_server else "owner"]


async def observe_elsewhere(world: World) -> dict[Route, int]:
    """What an owner hears of a thing of another workspace."""
    from contextlib import ExitStack

    found = {}
    with ExitStack() as held:
        world.app.state.held = held
        for route in ROUTES:
            if is_about_something(route) and route not in NOT_OF_A_WORKSPACE:
                found[route] = await send(world, route, asker(world, route), "there")
    return found


async def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_world(Path(folder) / "root") as world:
            elsewhere = await observe_elsewhere(world)
            PAGE.write_text(page(await observe(world), elsewhere), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_write())

"""Sessions and tokens made up for tests: what the gate asks of them is all they do."""

from __future__ import annotations

import asyncio
import random

from starlette.types import Scope

from gemma_keras_tune_ui.identity.access import Principal, Role

ANN = "ann-session"
BOB = "bob-session"
TOKEN = "gkt_" + "a" * 43


def person(name: str, *, workspace: str = "w1", role: Role = Role.EDITOR) -> Principal:
    return Principal(
        user_id=name,
        name=name,
        workspace_id=workspace,
        role=role,
        session_hash=f"hash-of-{name}",
    )


class FakeSessions:
    """Two people, who can be thrown out."""

    def __init__(self) -> None:
        self.held = {ANN: person("ann"), BOB: person("bob", workspace="w2")}
        self.touches = 0

    async def principal_of(self, raw_id: str, *, touch: bool = True) -> Principal | None:
        self.touches += touch
        await asyncio.sleep(random.random() / 100)  # answers come in any order
        return self.held.get(raw_id)


class FakeTokens:
    """One token, of Ann."""

    async def principal_of(self, raw: str) -> Principal | None:
        if raw != TOKEN:
            return None
        return Principal(
            user_id="ann",
            name="ann",
            workspace_id="w1",
            role=Role.EDITOR,
            scopes=frozenset({"read", "write"}),
            via="token",
        )


class Recorder:
    """An app that answers 200 and keeps the scopes it has seen."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"inside"})

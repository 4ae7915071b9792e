"""Requests made from the API's own description: no fault of ours, and only answers it speaks of."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gemma_keras_tune_ui.api.openapi import schema_of
from gemma_keras_tune_ui.identity.access import SCOPES, Role
from tests.ui.api.world import World, open_world

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


class Served:
    """The world on a port, in a thread of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self.world: World | None = None
        self.port = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        async with open_world(self._root) as world:
            self.world, self._stop = world, asyncio.Event()
            self.loop = asyncio.get_running_loop()
            server = uvicorn.Server(
                uvicorn.Config(world.app, port=0, lifespan="off", log_level="critical")
            )
            serving = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
            self.port = server.servers[0].sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            server.should_exit = True
            await serving

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)


@dataclass
class Target:
    """What is fuzzed, and what there is in it."""

    schema: Any
    headers: dict[str, str]
    known: dict[str, list[str]]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Served(tmp_path_factory.mktemp("root")) as served:
        world = served.world
        assert world is not None
        made = asyncio.run_coroutine_threadsafe(_fill(world), served.loop).result(60)
        described = schema_of(world.app)
        schema = schemathesis.openapi.from_dict(described)
        schema.config.update(base_url=f"http://127.0.0.1:{served.port}")
        yield Target(schema, *made)


async def _fill(world: World) -> tuple[dict[str, str], dict[str, list[str]]]:
    """A token that may all, and things to ask for."""
    root = world.people["root"]
    _, token = await world.parts.identity.tokens.create(
        root.principal,
        name="fuzz",
        scopes=SCOPES,
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    guest = world.people["viewer"].user_id

    async def invite() -> str:
        made, _ = await world.parts.identity.invitations.create(root.principal, Role.VIEWER)
        return made.id

    place = (world.here, root.user_id)
    known = {
        "run_id": [await world.run(*place) for _ in range(4)],
        "job_id": [await world.job(*place, state=state) for state in ("done", "paused", "done")],
        "dataset_id": [await world.dataset(*place) for _ in range(4)],
        "upload_id": [await world.upload(*place, is_whole=True) for _ in range(4)],
        "user_id": [guest],
        "recipe_name": ["spam_classifier"],
        "format": ["hf"],
        "name": ["report.md", "model.safetensors"],
        "secret_name": ["HF_TOKEN"],
        "session_id": [secrets.token_hex(16)],
        "token_id": [secrets.token_hex(16)],
        "target_id": [secrets.token_hex(16)],
        "invitation_id": [await invite() for _ in range(4)],
    }
    return {"Authorization": f"Bearer {token}"}, known


def fuzz(target: Target, *, examples: int) -> int:
    """Asks every operation so often, well and badly, and says how many requests it were.

    Raises:
        AssertionError: With everything that was found.
    """
    count, wrong = 0, []
    for found in target.schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                count += _ask(target, operation, mode, examples)
            except (AssertionError, BaseExceptionGroup) as error:
                wrong.append(f"{operation.label}, {mode.value}: {error}")
    assert not wrong, "\n\n".join(wrong)
    return count


def _ask(target: Target, operation: Any, mode: GenerationMode, examples: int) -> int:
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        return 0  # there is nothing to get wrong
    count = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode),
        use_known=st.booleans(),
        pick=st.integers(0, 9),
    )
    def ask(case: Any, use_known: bool, pick: int) -> None:
        nonlocal count
        if use_known:
            case.path_parameters = {
                name: target.known[name][pick % len(target.known[name])]
                for name in case.path_parameters or {}
            }
        count += 1
        case.call_and_validate(headers=target.headers, checks=CHECKS, timeout=30)

    ask()
    return count


def test_no_request_made_from_the_description_finds_a_fault_of_ours(target: Target) -> None:
    assert fuzz(target, examples=4) > 200


@pytest.mark.slow
def test_nor_do_many_more(target: Target) -> None:
    assert fuzz(target, examples=25) > 1500

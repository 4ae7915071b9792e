"""Every route x every role x every workspace, against the table in `matrix.py`."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import pytest_asyncio

from gemma_keras_tune_ui.identity.access import RULES, Action
from tests.ui.api import matrix
from tests.ui.api.matrix import NOT_OF_A_WORKSPACE, ROUTES, WHERES, Route, is_about_something
from tests.ui.api.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(world: World) -> dict[Route, dict[str, int]]:
    return await matrix.observe(world)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def elsewhere(world: World) -> dict[Route, int]:
    return await matrix.observe_elsewhere(world)


async def test_every_route_is_in_the_table(world):
    assert matrix.routes_of(world) == set(ROUTES)


async def test_every_action_of_the_api_is_asked_somewhere(world):
    elsewhere = {
        Action.UPLOAD_MODEL,  # by its purpose, see the tests of uploads
        *(Action[f"SUBMIT_{kind}"] for kind in ("PLAN", "TRAIN", "GENERATE", "EXPORT")),
        Action.DELETE_WORKSPACE,  # has no route yet
        Action.MAKE_BACKUP,
        Action.MANAGE_STORAGE,
        Action.VIEW_SERVER,  # /metrics
    }
    assert {*ROUTES.values()} - {None} == set(RULES) - elsewhere


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
async def test_a_route_answers_those_who_may_and_refuses_the_others(world, seen, route):
    wrong = {}
    for name, status in seen[route].items():
        who = world.people[name]
        if matrix.may(who, ROUTES[route]):
            is_right = status < 300
        else:
            is_right = status == (401 if who.role is None else 403)
        if not is_right:
            wrong[name] = status
    assert not wrong


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if is_about_something(route)], ids=" ".join
)
async def test_a_thing_of_another_workspace_is_not_there(world, elsewhere, route):
    if route not in NOT_OF_A_WORKSPACE:
        assert elsewhere[route] == 404
    assert await matrix.send(world, route, matrix.asker(world, route), "missing") == 404


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if is_about_something(route)], ids=" ".join
)
async def test_who_may_not_do_it_learns_nothing_of_what_is_there(world, seen, route):
    """The answer to a viewer, and to a token without the scope, is the same for all things."""
    with ExitStack() as held:
        world.app.state.held = held
        for name in ("nobody", "viewer", "token-read", "token-admin"):
            who = world.people[name]
            if not matrix.may(who, ROUTES[route]):
                got = {await matrix.send(world, route, who, where) for where in WHERES}
                assert got == {401 if who.role is None else 403}, name


async def test_the_page_says_what_the_app_does(seen, elsewhere):
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.page(seen, elsewhere), (
        "write it anew: python -m tests.ui.api.matrix"
    )

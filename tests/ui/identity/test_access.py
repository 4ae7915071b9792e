"""The matrix of roles and actions, against one that was written by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune_ui.identity.access import (
    RULES,
    SCOPES,
    Action,
    Forbidden,
    NotFound,
    Principal,
    Role,
    authorize,
    may,
    operator,
)

# Written by hand from the issue, not from the code: letters are viewer, editor, admin, owner.
EXPECTED = {
    "run.view": "veao", "data.view": "veao", "job.view": "veao", "events.view": "veao",
    "artifact.view": "veao", "recipe.view": "veao", "member.view": "veao", "quota.view": "veao",
    "artifact.download": "veao", "account.own": "veao",
    "data.upload": "eao", "model.upload": "eao", "data.create": "eao", "data.change": "eao",
    "job.submit.data": "eao",
    "job.submit.plan": "eao", "job.submit.train": "eao", "job.submit.evaluate": "eao",
    "job.submit.generate": "eao", "job.submit.export": "eao", "run.control": "eao",
    "job.cancel": "eao", "job.pause": "eao", "job.resume": "eao", "run.tag": "eao",
    "run.delete": "eao", "data.delete": "eao", "artifact.delete": "eao", "secret.names": "eao",
    "job.rank": "ao", "member.manage": "ao", "quota.manage": "ao", "secret.put": "ao",
    "secret.delete": "ao", "audit.view": "ao", "workspace.rename": "ao",
    "workspace.delete": "o",
    "workspace.create": "", "server.users": "", "server.adopt": "", "server.backup": "",
    "server.storage": "", "server.audit": "", "server.view": "",
}  # fmt: skip
NEVER_BY_TOKEN = {"account.own", "workspace.delete"}
LETTERS = {"v": Role.VIEWER, "e": Role.EDITOR, "a": Role.ADMIN, "o": Role.OWNER}


def person(role: Role, **more: object) -> Principal:
    return Principal(user_id="u", name="u", workspace_id="here", role=role, **more)


def test_every_action_has_a_rule_and_a_line_in_the_expected_matrix() -> None:
    assert set(RULES) == set(Action)
    assert {action.value for action in Action} == set(EXPECTED)


@pytest.mark.parametrize(("action", "role"), itertools.product(Action, Role))
def test_roles_may_what_the_matrix_says(action: Action, role: Role) -> None:
    allowed = {LETTERS[letter] for letter in EXPECTED[action.value]}
    assert may(person(role), action, "here") == (role in allowed)
    if EXPECTED[action.value]:
        with pytest.raises(NotFound):
            authorize(person(role, is_server_admin=True), action, "elsewhere")
        with pytest.raises(NotFound):
            authorize(person(role), action, None)
    else:
        assert may(person(role, is_server_admin=True), action)
        assert not may(person(role), action, "here")


@pytest.mark.parametrize("action", Action)
def test_a_token_without_the_scope_may_not_whatever_the_role(action: Action) -> None:
    chief = {"is_server_admin": True}
    needed = RULES[action].scope
    for scope in SCOPES:
        token = person(Role.OWNER, scopes=frozenset({scope}), **chief)
        assert may(token, action, "here") == (scope == needed)
    all_scopes = person(Role.OWNER, scopes=frozenset(SCOPES), **chief)
    assert may(all_scopes, action, "here") == (action.value not in NEVER_BY_TOKEN)
    assert not may(person(Role.OWNER, scopes=frozenset(), **chief), action, "here")


@given(st.sampled_from(Action), st.sampled_from(Role), st.sets(st.sampled_from(SCOPES)))
def test_a_scope_never_gives_what_the_role_does_not(
    action: Action, role: Role, scopes: set[str]
) -> None:
    if may(person(role, scopes=frozenset(scopes)), action, "here"):
        assert may(person(role), action, "here")


def test_refusals_say_what_is_needed_and_carry_their_status() -> None:
    with pytest.raises(Forbidden, match="role editor.*yours is viewer") as refused:
        authorize(person(Role.VIEWER), Action.SUBMIT_TRAIN, "here")
    assert (refused.value.status, refused.value.code) == (403, "FORBIDDEN_ROLE")
    with pytest.raises(NotFound) as missing:
        authorize(person(Role.OWNER), Action.VIEW_RUNS, "elsewhere")
    assert missing.value.status == 404


def test_roles_are_ordered_and_read_by_their_names() -> None:
    assert Role.VIEWER < Role.EDITOR < Role.ADMIN < Role.OWNER
    assert [Role(role.label) for role in Role] == list(Role)
    with pytest.raises(ValueError, match="root"):
        Role("root")


def test_an_operator_may_all_in_one_workspace() -> None:
    assert all(may(operator("here"), action, "here") for action in Action)
    assert not may(operator("here"), Action.VIEW_RUNS, "elsewhere")

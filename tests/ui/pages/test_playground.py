"""Asking a model before and after its training, with the real warm server and a tiny model."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.event_types import RunEnded
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune_ui.words import playground as words
from tests.support.jobs import finish, make_job, save_model, tiny_recipe
from tests.ui.pages.test_runs import listed, run_of, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_run_that_is_not_trained_says_so(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "untrained", RunEnded(status="done"))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/playground")
    await ann.should_see(words.NOT_TRAINED_TITLE)


@pytest.mark.slow
async def test_both_models_answer_side_by_side_and_say_how_sure_they_are(
    app: FastAPI, ann: User
) -> None:
    root = app.state.settings.root
    recipe = tiny_recipe(root, save_model(root / "models" / "tiny"))
    job = make_job(root, "train", {"recipe": recipe}, run="tried")
    code, _ = await asyncio.to_thread(finish, job)
    assert code == 0, job.log.read_text()
    folder = RunFolder(root / "runs" / "tried")
    await listed(app, folder)
    await ann.open("/runs/tried/playground")
    ann.find(marker="ask").click()
    await wait_for(lambda: any(words.EMPTY in one for one in ann.notify.messages))
    ann.find(marker="prompt").type("free prize")
    (longest,) = ann.find(marker="set-max_tokens").elements
    longest.value = 6  # type: ignore[attr-defined]
    ann.find(marker="ask").click()
    (ask,) = ann.find(marker="ask").elements
    await wait_for(lambda: not ask.enabled)  # type: ignore[attr-defined]
    await wait_for(lambda: ask.enabled, within_s=180)  # type: ignore[attr-defined]
    for marker in ("base", "tuned"):
        (text,) = [one for one in _elements(ann) if marker in one._markers]
        beside = text.parent_slot.children  # type: ignore[union-attr]
        tokens = [one for one in beside[-1].descendants() if "gkt-choice" in one.classes]
        assert 1 <= len(tokens) <= 6, marker
        said = [str(one.props["aria-label"]) for one in tokens]
        assert all("%" in one and "Else:" in one for one in said), said


def _elements(user: User) -> list[ui.element]:
    assert user.client is not None
    return list(user.client.elements.values())

"""Asking a model before and after its training, with the real warm server and a tiny model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.event_types import RunEnded
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune_ui.pages.result import playground
from gemma_keras_tune_ui.pages.result.said import Said
from gemma_keras_tune_ui.words import playground as words
from tests.support.jobs import train_tiny
from tests.support.pages import only, until, wait_for
from tests.ui.pages.test_runs import listed, run_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_run_that_is_not_trained_says_so(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "untrained", RunEnded(status="done"))
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/playground")
    await ann.should_see(words.NOT_TRAINED_TITLE)


def trained(app: FastAPI, name: str, prompts: tuple[str, ...], **data: Any) -> RunFolder:
    """A trained run whose report shows these prompts."""
    changes = {f"data.{key}": value for key, value in data.items()}
    folder = run_of(app, name, RunEnded(status="done"), **changes)
    folder.adapter.mkdir()
    samples = [{"prompt": prompt, "expected": f"answer to {prompt[-1]}"} for prompt in prompts]
    folder.report_json.write_text(json.dumps({"samples": samples}))
    return folder


async def test_a_held_back_row_stands_there_to_be_asked_as_in_training(
    app: FastAPI, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ("Spam? Win <b>now", "asked by an older format", "Spam? Lunch")
    folder = trained(app, "suggested", prompts, prompt_format="Spam? {prompt}")
    await listed(app, folder)
    asked: list[Any] = []

    async def submit(_: Any, wanted: Any) -> None:
        asked.append(wanted.args)
        raise TuneError("not now", code="JOB_INVALID")

    monkeypatch.setattr(playground, "submit", submit)
    await ann.open(f"/runs/{folder.id}/playground")
    prompt = only(ann, ui.textarea, "prompt")
    assert prompt.value == "Win <b>now"
    await ann.should_see(words.RIGHT_ANSWER.format(answer="answer to w"))
    read = only(ann, ui.label, "as-read")
    assert read.text == "Spam? Win <b>now"
    ann.find(marker="another").click()
    await wait_for(lambda: prompt.value == "Lunch")
    await ann.should_see(words.RIGHT_ANSWER.format(answer="answer to h"))
    ann.find(marker="prompt").type(" at noon")
    await wait_for(lambda: read.text == "Spam? Lunch at noon")
    await ann.should_not_see(words.RIGHT_ANSWER.format(answer="answer to h"))
    ann.find(marker="ask").click()
    await wait_for(lambda: len(asked) == 1)
    way = only(ann, ui.radio, "way")
    assert way.value == "trained"
    way.value = "question"
    await ann.should_see(words.AS_IS_TEXT)
    await ann.should_not_see(marker="as-read")
    ann.find(marker="ask").click()
    await wait_for(lambda: len(asked) == 2)
    way.value = "text"
    await ann.should_see(words.AS_TEXT_TEXT)
    ann.find(marker="ask").click()
    await wait_for(lambda: len(asked) == 3)
    assert [one["base"] for one in asked] == [False] * 3, "the tuned model answers first"
    given = [
        {key: one[key] for key in ("prompt", "messages", "text") if key in one} for one in asked
    ]
    assert given == [
        {"prompt": "Lunch at noon"},
        {"messages": [{"role": "user", "content": "Lunch at noon"}]},
        {"text": "Lunch at noon"},
    ]


async def test_without_text_around_prompts_a_question_is_what_was_trained(
    app: FastAPI, ann: User
) -> None:
    folder = trained(app, "plain", ("Who?",), prompt_format="{prompt}")
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/playground")
    await ann.should_see(words.RIGHT_ANSWER.format(answer="answer to ?"))
    assert list(only(ann, ui.radio, "way").options) == ["question", "text"]
    await ann.should_not_see(words.AS_IS_TEXT)
    await ann.should_not_see(marker="as-read")
    await ann.should_not_see(marker="another")


async def test_a_run_on_plain_texts_goes_on_with_one(app: FastAPI, ann: User) -> None:
    folder = trained(app, "texts", ("Once upon a time",), task="text", columns={})
    await listed(app, folder)
    await ann.open(f"/runs/{folder.id}/playground")
    await ann.should_see(words.PROMPTS["text"])
    assert only(ann, ui.textarea, "prompt").value == "Once upon a time"
    await ann.should_see(words.GOES_ON.format(answer="answer to e"))
    way = only(ann, ui.radio, "way")
    assert (list(way.options), way.value) == (["text", "question"], "text")
    way.value = "question"
    await ann.should_see(words.AS_QUESTION_TEXT)


@pytest.mark.slow
async def test_both_models_answer_side_by_side_and_say_how_sure_they_are(
    app: FastAPI, ann: User
) -> None:
    folder = await asyncio.to_thread(train_tiny, app.state.settings.root, "tried")
    await listed(app, folder)
    await ann.open("/runs/tried/playground")
    ann.find(marker="ask").click()
    await wait_for(lambda: any(words.EMPTY in one for one in ann.notify.messages))
    ann.find(marker="prompt").type("free prize")
    longest = only(ann, ui.number, "set-max_tokens")
    longest.value = 6
    ann.find(marker="ask").click()
    ask = only(ann, ui.button, "ask")
    await wait_for(lambda: not ask.enabled)
    await until(ann, words.LOADING)
    await wait_for(lambda: ask.enabled, within_s=180)
    for marker in ("base", "tuned"):
        (text,) = [one for one in _elements(ann) if marker in one._markers]
        beside = text.parent_slot.children  # type: ignore[union-attr]
        (answer,) = [one for one in beside[-1].descendants() if isinstance(one, Said)]
        pieces = answer.props["pieces"]
        assert 1 <= len(pieces) <= 6, marker
        assert all("%" in one["said"] and "Else:" in one["said"] for one in pieces), pieces
        assert not text.visible, "it stands there once"


def _elements(user: User) -> list[ui.element]:
    assert user.client is not None
    return list(user.client.elements.values())

"""The help page: a way from a table to a model, then the glossary."""

from __future__ import annotations

import tomllib

import pytest
from nicegui.testing import User

from gemma_keras_tune_ui.settings import Settings
from gemma_keras_tune_ui.words import help as words
from gemma_keras_tune_ui.words.glossary import TERMS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_steps_from_a_table_to_a_model_lead_to_their_pages(ann: User) -> None:
    await ann.open("/help")
    await ann.should_see(words.HOW_TO)
    for title, text, _, _ in words.STEPS:
        await ann.should_see(title)
        await ann.should_see(text)
    links = sorted(ann.find(marker="step").elements, key=lambda link: link.id)
    assert [link.props["href"] for link in links] == [path for *_, path in words.STEPS]
    for path in {path for *_, path in words.STEPS}:
        assert (await ann.http_client.get(path)).status_code == 200


async def test_what_lets_colleagues_in_are_settings_of_the_server(ann: User) -> None:
    await ann.open("/help")
    await ann.should_see(words.OTHERS_TEXT)
    values = tomllib.loads(words.OTHERS_FILE)
    assert values.keys() <= Settings.model_fields.keys()
    assert values["tls"].keys() <= Settings.model_fields["tls"].annotation.model_fields.keys()


async def test_every_term_has_the_place_that_explanations_lead_to(ann: User) -> None:
    await ann.open("/help")
    await ann.should_see(words.TERMS)
    assert ann.client is not None
    ids = {element.props.get("id") for element in ann.client.elements.values()}
    assert ids >= TERMS.keys()

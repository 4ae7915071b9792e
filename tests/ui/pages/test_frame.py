"""What stands around every page."""

from __future__ import annotations

import gc
import weakref

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune_ui.words.glossary import TERMS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_navigation_leads_to_pages_and_says_where_one_is(app: FastAPI, ann: User) -> None:
    await ann.open("/help")
    await ann.should_see("Help")
    here = [link for link in ann.find(ui.link).elements if link.props.get("aria-current") == "page"]
    assert [link.props["href"] for link in here] == ["/help"]
    paths = {section.path for section in app.state.sections}
    assert {"/", "/help"} <= paths
    for path in paths:
        assert (await ann.http_client.get(path)).status_code == 200, path


async def test_every_term_of_the_glossary_is_on_the_help_page(ann: User) -> None:
    await ann.open("/help")
    for term in TERMS.values():
        await ann.should_see(term.plain)


async def test_a_page_that_is_gone_leaves_hardly_anything_to_look_for(ann: User) -> None:
    await ann.open("/settings")
    with ann:
        client = ui.context.client
    elements = len(client.elements)
    gc.collect()
    gc.disable()
    try:
        client.delete()
        await ann.open("/")
        gone = weakref.ref(client)
        del client
        found = gc.collect()
        assert gone() is None
    finally:
        gc.enable()
    assert elements > 50 and found < 10 * elements  # else eighteen an element and more

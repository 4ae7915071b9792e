"""Fixtures that every test may use."""

from __future__ import annotations

import pytest

from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.tiny_tokenizer import tiny_proto


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """A tokenizer of 400 pieces with Gemma's markers; see `tests/support/tiny_tokenizer.py`."""
    return Tokenizer(tiny_proto())

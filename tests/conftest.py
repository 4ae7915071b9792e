"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.tiny_tokenizer import tiny_proto


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """A tokenizer of 400 pieces with Gemma's markers; see `tests/support/tiny_tokenizer.py`."""
    return Tokenizer(tiny_proto())


@pytest.fixture(scope="module", autouse=True)
def _compiled_steps_end_with_their_module() -> Iterator[None]:
    """Frees what JAX compiled for a module's tests: a worker would grow to gigabytes otherwise."""
    yield
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.clear_caches()
        gc.collect()

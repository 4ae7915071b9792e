"""What all tests of the evaluation share."""

from __future__ import annotations

import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def quick_compiles():
    """Tiny models run in a moment but compile for seconds; without optimizations, half as long."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)

"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module

import pytest
from hypothesis import settings

from gemma_keras_tune.compile_cache import FOLDER, SHORTEST
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.tiny_tokenizer import tiny_proto

# PyTorch's builds for GPUs bring Triton, whose library crashes where TensorFlow came before it. A
# worker does the tests of many modules, some with the one and some with the other.
with suppress(ImportError):
    import_module("triton")

settings.register_profile("busy machine", deadline=None)  # how long an example takes is no fault
settings.load_profile("busy machine")


def pytest_configure(config: pytest.Config) -> None:
    """Tiny models take longer to compile than to compute, so that compiling is made cheap.

    All processes of a test run share what JAX compiles, which is mostly the same. What tests
    compute themselves is hardly optimised, except where a device is measured; servers and what
    else they start compile as everybody's do.
    """
    if not hasattr(config, "workerinput") and FOLDER not in os.environ:
        folder = tempfile.mkdtemp(prefix="gemma-keras-tune-compiled-")
        os.environ[FOLDER], os.environ[SHORTEST] = folder, "0.1"
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    if "not accelerator" in config.option.markexpr:
        jax = import_module("jax")  # reads the variables above
        jax.config.update("jax_disable_most_optimizations", True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with slow tests first: one that begins last leaves the other workers idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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

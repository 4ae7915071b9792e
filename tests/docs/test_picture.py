"""The picture of the README is drawn from a run's own files."""

import json
from typing import Any

import pytest

from docs.make_picture import PICTURE, picture

_MEASURES = {
    "loss": 0.5,
    "perplexity": 1.6487,
    "tokens": 6,
    "accuracy": 2 / 3,
    "macro_f1": 0.6667,
    "per_class": {
        label: {"precision": 0.5, "recall": 1.0, "f1": 0.6667, "support": 3}
        for label in ("ham", "spam")
    },
    "confusion": {"labels": ["ham", "spam"], "counts": [[1, 0], [1, 1]]},
}
_ANSWER = {"text": "ham", "stop_reason": "stop", "predicted": "ham", "confidence": 0.9}
_PARITY = {
    "max_abs_diff": 0.00012,
    "tolerance": 0.001,
    "argmax_agreement": 1.0,
    "greedy_equal": True,
    "token_ids_equal": True,
    "chat_ids_equal": True,
    "differs_from_base": True,
}


@pytest.fixture
def run(tmp_path):
    """The files of a finished run that the picture needs."""
    sample = {"row": 2, "file": "a.csv", "prompt": "See you", "expected": "ham"}
    report: dict[str, Any] = {"rows": 3, "shortened": 0, "dropped": 0}
    report |= {"task": "classification", "base": None, "tuned": _MEASURES}
    report["samples"] = [{**sample, "base": None, "tuned": _ANSWER}]
    lineage = {"base": {"name": "demo"}, "device": {"kind": "cpu", "machine": "x86_64"}}
    step = {
        **{"kind": "step", "step": 1, "total_steps": 1, "epoch": 1.0, "loss": 1.0, "tokens": 9},
        **{"answer_tokens": 1234, "learning_rate": 0.1, "grad_norm": 1.0, "seconds": 1.0},
        **{"tokens_per_s": 9.0, "seq": 1, "attempt": 1, "time": "2026-01-02T03:04:05+00:00"},
    }
    files = {
        "recipe.json": {"name": "tiny", "model": {"lora": {"rank": 3}}},
        "lineage.json": lineage,
        "report.json": report,
        "events.jsonl": step,
        "artifacts/hf/parity.json": _PARITY,
    }
    for name, values in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(values) + "\n")
    return tmp_path


def test_the_picture_shows_the_figures_of_the_run(run):
    svg = picture(run).replace("&#160;", " ")
    for shown in ("LoRA of rank 3", "1 steps, 1,234 answer tokens", "66.7%", "0.5000", "0.00012"):
        assert shown in svg
    assert "2026-01-02" in svg


def test_the_picture_names_no_folder_and_fetches_nothing(run):
    for svg in (picture(run), PICTURE.read_text(encoding="utf-8")):
        assert str(run) not in svg
        assert "/tmp" not in svg
        assert "url(http" not in svg


def test_the_committed_picture_is_small():
    assert PICTURE.stat().st_size < 300_000

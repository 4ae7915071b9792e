"""Checks of a model's own files for the known traps, each with its evidence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .doctor import Check

if TYPE_CHECKING:
    from .model.load import ModelDescription

_OVERFLOW = {"gemma3", "gemma4"}
"""Families whose hidden states pass 65,504, the largest number of float16."""


def check_model(facts: ModelDescription) -> list[Check]:
    """Whether template, tokenizer, vocabulary, special ids and stored type belong together."""
    return [
        _template_fits(facts),
        _tokenizer_fits(facts),
        _special_ids(facts),
        _stored_type(facts),
    ]


def _template_fits(facts: ModelDescription) -> Check:
    kind = "instruct" if facts.instruct else "pretrained"
    evidence = f"a {kind} model with the template {facts.template.name!r}"
    if facts.instruct == (facts.template.name != "plain"):
        return Check(status="ok", name="Template", evidence=evidence)
    if facts.instruct:
        cause = "The model was tuned to take turns, and is trained and asked without them."
        fix = 'Set model.template = "auto".'
    else:
        cause = "A pretrained model never saw the turn markers; their embeddings are not trained."
        fix = 'Set model.template = "auto", or start from the instruct model.'
    return Check(status="warn", name="Template", evidence=evidence, cause=cause, fix=fix)


def _tokenizer_fits(facts: ModelDescription) -> Check:
    tokens, stops = facts.template.tokenizer, facts.template.stop_ids
    names = ", ".join(f"{tokens.piece(stop)} ({stop})" for stop in stops)
    rows = facts.config.vocab_size
    evidence = f"{tokens.vocab_size:,} tokens for {rows:,} embeddings; stops: {names}"
    if tokens.vocab_size <= rows:
        return Check(status="ok", name="Tokenizer", evidence=evidence)
    return Check(
        status="fail",
        name="Tokenizer",
        evidence=evidence,
        cause="The tokenizer can give ids that the model has no embedding for.",
        fix="Use the tokenizer that belongs to the model.",
    )


def _special_ids(facts: ModelDescription) -> Check:
    """What a Hugging Face folder says of bos and eos, against the tokenizer in it."""
    name, tokenizer = "Special ids", facts.template.tokenizer
    path = facts.files[0].parent / "config.json" if facts.files else None
    try:
        said = json.loads(path.read_text("utf-8")) if path is not None else {}
    except (OSError, ValueError):
        said = {}
    ids = {key: said.get(f"{key}_token_id") for key in ("bos", "eos")}
    if "model_type" not in said or ids["bos"] is None:
        return Check(status="skip", name=name, evidence="only a Hugging Face folder names them")
    evidence = f"config.json: bos {ids['bos']}, eos {ids['eos']}; the tokenizer's: "
    evidence += f"bos {tokenizer.bos_id}, eos {tokenizer.eos_id}"
    ends = np.atleast_1d(ids["eos"] if ids["eos"] is not None else tokenizer.eos_id).tolist()
    if ids["bos"] == tokenizer.bos_id and tokenizer.bos_id not in ends:
        return Check(status="ok", name=name, evidence=evidence)
    return Check(
        status="fail",
        name=name,
        evidence=evidence,
        cause="Whoever follows the file begins a text with the wrong token, or ends at its start. "
        "KerasHub's exporter swaps the two for Gemma 3.",
        fix="Correct bos_token_id and eos_token_id in config.json, or export the model again.",
    )


def _stored_type(facts: ModelDescription) -> Check:
    from .errors import ModelError
    from .model.safetensors_file import read_header

    name = "Stored type"
    files = [path for path in facts.files if path.suffix == ".safetensors"]
    try:
        types: set[Any] = {place.dtype for path in files for place in read_header(path)}
    except (ModelError, OSError) as error:
        return Check(status="skip", name=name, evidence=str(error))
    if not types:
        return Check(status="skip", name=name, evidence="only safetensors files are looked at")
    evidence = f"weights stored as {', '.join(sorted(str(one) for one in types))}"
    half = any("float16" in str(one) and "bfloat16" not in str(one) for one in types)
    if not half or facts.config.family not in _OVERFLOW:
        return Check(status="ok", name=name, evidence=evidence)
    return Check(
        status="warn",
        name=name,
        evidence=evidence,
        cause="The hidden states of Gemma 3 and later pass the largest number of float16: whoever "
        "computes in the stored type gets infinities. Here it is computed in float32 or bfloat16.",
        fix="Take the bfloat16 version of the model.",
    )

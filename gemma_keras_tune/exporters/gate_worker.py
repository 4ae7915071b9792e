"""The other side of the gate: a process without JAX that reloads artifacts as their users would.

    python -m gemma_keras_tune.exporters.gate_worker FOLDER

`FOLDER/jobs.json` has the probes and the artifacts; `FOLDER/results.json` and one `.npy` file a
prompt are written beside it. Only `transformers` and `peft` compute here.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path) -> None:
    """Answers the probes for every artifact named in `folder/jobs.json`."""
    request = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    results = []
    for number, job in enumerate(request["jobs"]):
        try:
            result = _check(job, request["probes"], folder / f"logits-{number}")
        except Exception as error:  # noqa: BLE001 - any failure of a consumer is a finding
            result = {"error": f"{type(error).__name__}: {error}"}
        results.append(result)
    answer = {"results": results, "versions": _versions()}
    text = json.dumps(answer, ensure_ascii=True)
    (folder / "results.json").write_text(text, encoding="utf-8")


def _check(job: dict[str, Any], probes: dict[str, Any], prefix: Path) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    weights = job.get("base") or job["folder"]
    dtype = getattr(torch, job["compute_dtype"])
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=dtype).eval()
    variants: dict[str, Any] = {}
    with torch.inference_mode():
        if job["kind"] == "peft":
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, job["folder"]).eval()
            variants["live"] = _run(model, probes, prefix.with_name(f"{prefix.name}-live"))
            model = model.merge_and_unload().eval()
            variants["merged"] = _run(model, probes, prefix.with_name(f"{prefix.name}-merged"))
        else:
            variants["saved"] = _run(model, probes, prefix.with_name(f"{prefix.name}-saved"))
        stops = [_stops_at(model, probes, token) for token in probes["stop_candidates"]]
    return {
        "error": None,
        "variants": variants,
        "stops": stops,
        "special_ids": _special_ids(model, tokenizer),
        **_tokenize(tokenizer, probes),
    }


def _run(model: Any, probes: dict[str, Any], prefix: Path) -> dict[str, Any]:
    """Logits of every prompt, as files, and the greedy continuation of the first."""
    import torch

    files = []
    for number, prompt in enumerate(probes["prompts"]):
        ids = torch.tensor([prompt["ids"]])
        logits = model(input_ids=ids, logits_to_keep=prompt["keep"], use_cache=False).logits[0]
        path = prefix.with_name(f"{prefix.name}-{number}.npy")
        np.save(path, logits.float().numpy())
        files.append(path.name)
    first = torch.tensor([probes["prompts"][0]["ids"]])
    continued = model.generate(
        input_ids=first,
        attention_mask=torch.ones_like(first),
        do_sample=False,
        max_new_tokens=probes["greedy_tokens"],
        # an id that never comes: where it stops is asked apart
        eos_token_id=model.config.vocab_size,
    )
    return {"logits": files, "greedy": continued[0, first.shape[1] :].tolist()}


def _stops_at(model: Any, probes: dict[str, Any], token: int) -> bool:
    """Whether `generate`, with the artifact's own settings, stops after this token."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    class Force(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            forced = torch.full_like(scores, float("-inf"))
            forced[:, token] = 0.0
            return forced

    prompt = torch.tensor([probes["prompts"][0]["ids"][:4]])
    out = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=3,
        logits_processor=LogitsProcessorList([Force()]),
    )
    return bool(out.shape[1] - prompt.shape[1] < 3)


def _special_ids(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Every place that names the beginning, the end and the padding of a text."""

    def of(holder: Any) -> dict[str, Any]:
        return {key: getattr(holder, f"{key}_token_id") for key in ("bos", "eos", "pad")}

    return {
        "config.json": of(model.config),
        "generation_config.json": of(model.generation_config),
        "tokenizer_config.json": of(tokenizer),
    }


def _tokenize(tokenizer: Any, probes: dict[str, Any]) -> dict[str, Any]:
    def content(text: str) -> list[int]:
        encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])

    token_ids = [content(text) for text in probes["texts"]]
    chats = [
        tokenizer.apply_chat_template(
            chat["messages"],
            tokenize=True,
            return_dict=True,
            add_generation_prompt=chat["add_generation_prompt"],
        )
        for chat in probes["chats"]
    ]
    return {
        "token_ids": token_ids,
        "decoded": [tokenizer.decode(ids, skip_special_tokens=True) for ids in token_ids],
        "with_bos": list(tokenizer("a")["input_ids"]),
        "chat_ids": [list(chat["input_ids"]) for chat in chats],
    }


def _versions() -> dict[str, str]:
    names = ("transformers", "tokenizers", "peft", "torch")
    return {name: version(name) for name in names if name in sys.modules}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

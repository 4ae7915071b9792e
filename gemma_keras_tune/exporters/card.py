"""The model card of an artifact: what it is, what it learned, what was measured, how to use it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..model.families import FAMILIES
from ..model.value import Model
from ..recipe import DataRecipe
from ..text.as_trained import turns_as_trained
from ..text.how_to_ask import INSTALL, YOUR_TEXT, asking_code, make_base
from ..text.turns import Turn
from .gate import Parity
from .peft import hub_name

TERMS_URL = "https://ai.google.dev/gemma/terms"
POLICY_URL = "https://ai.google.dev/gemma/prohibited_use_policy"

_CARD_BASES = {"demo": "google/gemma-3-270m"}
_METRICS = ("loss", "perplexity", "accuracy", "macro_f1")
_SETTINGS = ("epochs", "learning_rate", "schedule", "batch_tokens", "seed")


def model_card(
    model: Model,
    format: str,
    parity: Parity,
    *,
    report: Mapping[str, Any] | None,
    lineage: Mapping[str, Any],
) -> str:
    """The text of `README.md`, Markdown with the hub's YAML header.

    Args:
        model: What was exported.
        format: `hf` or `peft`.
        parity: What the gate measured.
        report: `report.json`'s content, or None.
        lineage: `lineage.json`'s content.
    """
    sections = [
        _header(model, format),
        _title(model, format, lineage),
        _use(model, format, lineage),
        _data(lineage),
        _settings(model, lineage),
        _results(report),
        _parity(parity),
        _LIMITS,
        _terms(model),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _header(model: Model, format: str) -> str:
    """The YAML header; JSON's strings and lists are YAML's too."""
    base = hub_name(model.source) or _CARD_BASES.get(model.source.name)
    family = FAMILIES[model.config.family].title.lower().replace(" ", "-")
    tags = ["gemma", family, "gemma-keras-tune"] + ["lora"] * (model.adapters is not None)
    fields: dict[str, Any] = {
        "license": model.source.licence,
        "library_name": {"hf": "transformers", "peft": "peft"}[format],
        "pipeline_tag": "text-generation",
        "tags": tags,
    }
    if base is not None:
        fields["base_model"] = base
        relation = "adapter" if format == "peft" else "finetune"
        fields["base_model_relation"] = relation
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _title(model: Model, format: str, lineage: Mapping[str, Any]) -> str:
    name = lineage.get("recipe", {}).get("name") or model.source.name
    tuned = model.adapters is not None
    if format == "peft":
        what = "A LoRA adapter"
    else:
        title = FAMILIES[model.config.family].title
        what = f"A {title} model" + (" with its LoRA adapter merged in" if tuned else "")
    origin = f"made from `{model.source.name}`"
    if model.source.kind == "demo":
        origin += " (Gemma 3 270M, pretrained, dequantised from a Q4_K_M file)"
    return f"# {name}\n\n{what}, {origin} by Gemma Keras Tune."


def _use(model: Model, format: str, lineage: Mapping[str, Any]) -> str:
    stops, known = sorted(model.template.stop_ids), hub_name(model.source)
    parts = [f"```\n{INSTALL[format]}\n```"]
    if format == "peft" and known is None:
        parts.append(
            f"The base model `{model.source.name}` has no repository that `peft` could load. "
            f"Make its folder first:\n\n```\n{make_base(model.source.name)}\n```"
        )
    needed = stops if format == "peft" else ()
    code = asking_code(format, _asked(lineage), folder=".", base=known, stop_ids=needed)
    where = "In this folder, or with its name on the hub instead of `.`:"
    parts.append(f"{where}\n\n```python\n{code}\n```")
    ends = " or ".join(f"`{model.tokenizer.piece(stop)}` ({stop})" for stop in stops)
    parts.append(
        f"Answers end with {ends}. To encode a stranger's text, pass `split_special_tokens=True`, "
        "so that markers in it stay text."
    )
    return "\n\n".join(["## Use", *parts])


def _asked(lineage: Mapping[str, Any]) -> list[Turn]:
    """A place for the reader's own text, as in training; no row, as others may read the card."""
    settings = lineage.get("recipe", {}).get("data", {})
    known = {key: settings[key] for key in ("task", "system", "prompt_format") if key in settings}
    if not known:
        return []  # a model that was not trained here
    recipe = DataRecipe(path="rows", **known)  # where they lie doesn't matter here
    return turns_as_trained(recipe, YOUR_TEXT)


def _data(lineage: Mapping[str, Any]) -> str:
    files = lineage.get("data") or []
    if not files:
        return ""
    rows = [(f"`{entry['file']}`", f"`{entry['sha256']}`") for entry in files]
    task = lineage.get("recipe", {}).get("data", {}).get("task")
    said = f"The task is {task}.\n\n" if task else ""
    return f"## Trained on\n\n{said}{_table(('file', 'SHA-256'), rows)}"


def _settings(model: Model, lineage: Mapping[str, Any]) -> str:
    rows: list[tuple[str, str]] = []
    if model.adapters is not None:
        lora = model.adapters.config
        scaling = "alpha / sqrt(rank)" if lora.use_rslora else "alpha / rank"
        rows.append(("LoRA", f"rank {lora.rank}, alpha {lora.alpha:g}, scaled by {scaling}"))
        rows.append(("projections", ", ".join(lora.projections)))
        rows.append(("dropout", f"{lora.dropout:g}"))
    train = lineage.get("recipe", {}).get("train", {})
    rows += [(name.replace("_", " "), str(train[name])) for name in _SETTINGS if name in train]
    rows.append(("template", model.template.name))
    if (sha256 := model.source.sha256) != "":
        rows.append(("base weights, SHA-256", f"`{sha256}`"))
    return f"## Settings\n\n{_table(('setting', 'value'), rows)}{_changes(lineage)}"


def _changes(lineage: Mapping[str, Any]) -> str:
    """What was changed while it was trained, so that the settings above are not the last word."""
    rows = [
        (str(one["after_step"]), one["setting"].replace("_", " "), str(one["value"]))
        for one in lineage.get("changes") or ()
    ]
    if not rows:
        return ""
    head = ("after step", "setting", "value")
    return f"\n\nChanged while it was trained:\n\n{_table(head, rows)}"


def _results(report: Mapping[str, Any] | None) -> str:
    base, tuned = (report or {}).get("base") or {}, (report or {}).get("tuned") or {}
    rows = [
        (name.replace("_", " "), _number(base.get(name)), _number(tuned.get(name)))
        for name in _METRICS
        if name in tuned
    ]
    if not rows:
        return ""
    tokens = tuned.get("tokens")
    counted = f" ({tokens} answer tokens)" if tokens else ""
    return (
        f"## Results on held-back rows\n\nThe loss is in nats per answer token{counted}.\n\n"
        + _table(("", "base", "tuned"), rows)
    )


def _parity(parity: Parity) -> str:
    rows = [
        ("largest difference of a logit", f"{parity.max_abs_diff:.3g}"),
        ("allowed", f"{parity.tolerance:.3g}: {parity.tolerance_rule}"),
        ("same most probable token", f"{parity.argmax_agreement:.1%}"),
        (f"same greedy {parity.greedy_tokens} tokens", _yes(parity.greedy_equal)),
        ("same token ids", _yes(parity.token_ids_equal)),
        ("same chat template ids", _yes(parity.chat_ids_equal)),
        ("stops after the same ids", _yes(parity.stop_ids_equal)),
    ]
    if parity.differs_from_base is not None:
        rows.append(("is the tuned model, not the base", _yes(parity.differs_from_base)))
    versions = ", ".join(f"{name} {number}" for name, number in parity.versions.items())
    return (
        "## Checked\n\nA fresh process reloaded these files and computed "
        f"{parity.prompts} prompts ({parity.positions} positions) beside the trained model "
        f"({versions}).\n\n{_table(('', ''), rows)}"
    )


def _terms(model: Model) -> str:
    if model.source.licence == "apache-2.0":
        return (
            "## Terms\n\nThe base model comes under the Apache License 2.0 "
            "(https://www.apache.org/licenses/LICENSE-2.0); keep its notice with what is made from "
            "this model."
        )
    other = ""
    if model.source.licence != "gemma":
        other = f" The base model also comes under the terms `{model.source.licence}`."
    return (
        "## Terms\n\nGemma is provided under and subject to the Gemma Terms of Use found at "
        f"{TERMS_URL}. Uses that are forbidden are listed at {POLICY_URL}. Both hold for this "
        f"model and for what is made from it; hand them on with it.{other}"
    )


_LIMITS = """\
## Limits

The model says what is probable, not what is true. It was measured on the rows named above only:
on other text, other languages and other tasks it may be worse than its base. It keeps the base
model's biases and may have learned those of its data, which it can repeat word for word."""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """A cell that can't break out of its table, whatever a file is called."""
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"


def _yes(value: bool) -> str:
    return "yes" if value else "no"

"""The Python that asks an export, as its model card and the web app show it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .turns import Turn

INSTALL = {"hf": "pip install torch transformers", "peft": "pip install torch transformers peft"}
"""What installs the libraries that load an export, by its format."""

YOUR_TEXT = "YOUR TEXT"
"""Stands where a prompt belongs, if there is none to show."""

BASE_FOLDER = "base/hf"
"""Where the command of `make_base` puts the base model."""

_ASK = """
messages = {messages}
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**inputs, max_new_tokens=64{stops})
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))"""
_GO_ON = """
inputs = tokenizer({text}, return_tensors="pt")
whole = model.generate(**inputs, max_new_tokens=64{stops})
print(tokenizer.decode(whole[0], skip_special_tokens=True))"""
_LOAD = {
    "hf": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
""",
    "peft": """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
""",
}


def asking_code(
    format: str,
    turns: Sequence[Turn],
    *,
    folder: str,
    base: str | None = None,
    stop_ids: Sequence[int] = (),
) -> str:
    """Python that loads an export and prints its answer.

    Args:
        format: `hf` or `peft`.
        turns: What is asked, or the `text` that is to be gone on with; none: a place for the
            reader's own text.
        folder: The export, from where the code is run.
        base: What an adapter is loaded beside: a name on the Hugging Face hub, or None for
            `BASE_FOLDER`.
        stop_ids: Token ids that end an answer; needed beside a base model, which has its own.
    """
    load = _LOAD[format].format(folder=folder, base=base or BASE_FOLDER)
    stops = f", eos_token_id={[*stop_ids]}" if stop_ids else ""
    if turns and turns[0].role == "text":
        text = json.dumps(turns[0].text, ensure_ascii=False)
        return load + _GO_ON.format(text=text, stops=stops)
    said = [{"role": turn.role, "content": turn.text} for turn in turns]
    messages = json.dumps(said or [{"role": "user", "content": YOUR_TEXT}], ensure_ascii=False)
    return load + _ASK.format(messages=messages, stops=stops)


def make_base(name: str) -> str:
    """The command that makes a folder of a base model which has no name on the hub.

    Args:
        name: The base model, as a recipe names it.
    """
    return f"gemma-keras-tune export {name} --format hf --out base"

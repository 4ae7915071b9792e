"""The texts of a run's exports."""

from __future__ import annotations

TITLE = "Export"
MAKE = "Export it"
MAKE_TEXT = (
    "The files are loaded afresh by the program that people will use, and must compute what was "
    "trained. Otherwise nothing is published."
)
FORMATS = {
    "hf": (
        "Hugging Face folder",
        "The whole tuned model. For transformers and most servers of language models; also what "
        "other tools convert from.",
    ),
    "peft": (
        "PEFT adapter",
        "Only what was learned. For those who have the base model already, or use several adapters "
        "with it.",
    ),
}
TERMS = {"hf": "hugging_face", "peft": "peft"}
DTYPE = "Number format"
DTYPES = {"float32": "float32: exact", "bfloat16": "bfloat16: half the size"}
START = "Export"
AGAIN = "Export again"
STARTED = "Asked. It appears here when it has been checked."
NOT_TRAINED_TITLE = "There is nothing to export yet"
NOT_TRAINED = "When the training is over, the tuned model can be exported here."
AT_WORK = "A job works on this run or waits to; it can be exported again when that is over."

MADE = "Made and checked"
NONE = "Nothing was exported yet."
SIZE = "{size} in {count} files"
PASSED = "Checked: it computes what was trained"
FAILED = "The check failed"
DOWNLOAD_ALL = "Download all of it"
FILES = "Files"
PARITY = "How it was checked"
DELETE = "Delete"
DELETE_TITLE = "Delete this export?"
DELETE_TEXT = "It can be made again from the run."
DELETED = "Deleted."
HOW = "How to run it"
UNPACK = "Unpack what you have downloaded, and then:"
YES = "yes"
NO = "no"
CHECKS = {
    "max_abs_diff": "Largest difference of a score (logit)",
    "tolerance": "What it may be",
    "argmax_agreement": "Places with the same likeliest token",
    "greedy_equal": "The same answer, token by token",
    "differs_from_base": "Another model than the base",
    "follows_tuned": "How much of what was learned is in it",
    "token_ids_equal": "The same tokens for the same text",
    "chat_ids_equal": "The same tokens for the same conversation",
    "special_ids_equal": "The special tokens have the right names",
    "stop_ids_equal": "It stops where it should",
}
CODE = {
    "hf": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
messages = [{{"role": "user", "content": "Hello!"}}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
answer = model.generate(**ids, max_new_tokens=64)
print(tokenizer.decode(answer[0][ids["input_ids"].shape[1]:], skip_special_tokens=True))""",
    "peft": """\
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("THE BASE MODEL")
model = PeftModel.from_pretrained(base, "{folder}")""",
}

"""The texts of a run's exports."""

from __future__ import annotations

TITLE = "Export"
MAKE = "Export it"
MAKE_TEXT = (
    "An export is made and kept on the computer that this app runs on, and nothing leaves it. You "
    "can download it when it has passed its check: the program that people will use loads the "
    "files afresh, and must compute what was trained."
)
FORMATS = {
    "hf": (
        "Hugging Face folder",
        "The whole tuned model, with all that belongs to it. Programs for language models load it, "
        "such as transformers and most servers, and other tools convert from it. If you don't know "
        "which to take, take this one.",
    ),
    "peft": (
        "PEFT adapter",
        "Only what was learned, which is little. A program needs the base model beside it: take it "
        "if you have that already, or want several tuned models beside one base.",
    ),
}
RECOMMENDED = "Recommended"
TERMS = {"hf": "hugging_face", "peft": "peft"}
DTYPE = "Number format"
DTYPES = {"float32": "float32: exact", "bfloat16": "bfloat16: half the size"}
ABOUT = "About {size}"
ABOUT_BASE = "About as large as the base model in this number format"
START = "Export"
AGAIN = "Export again"
STARTED = "Asked. It appears here when it has been checked."
BLOCKED = "It can be exported again when the work above is over."
NOT_TRAINED_TITLE = "There is nothing to export yet"
NOT_TRAINED = "When the training is over, the tuned model can be exported here."

AT_WORK = "At work on this run"
STAGE = "Step {number} of {total}: {stage}"
STAGES = (
    "loads the tuned model",
    "writes the files",
    "checks them: a fresh program loads the files and must compute what was trained",
)
WAITING = {
    "queued": "The export waits for its turn.",
    "paused": "The training is paused. Go on with it on the page of the run.",
}
OTHER_WORK = {"train": "The run is being trained.", "evaluate": "The result is being measured."}
SINCE = "For {time} so far. A large model takes some minutes."
MAY_LEAVE = "You may leave this page: the work goes on, and what comes of it appears here."
EXPORT_FAILED = "It failed, so there is nothing to download. {why}"

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
NO_CODE = (
    "You need no code to use the model: “Use on a table” answers a whole table with it, here in "
    "this app."
)
USE_TABLE = "Use it on a table"
UNPACK = (
    "What follows is for somebody who wants it in a program of their own, on a computer with "
    "Python. Unpack what you have downloaded (in Windows: right click, Extract all). Open a "
    "terminal there (in Windows: PowerShell), and type this once, to install what loads the model:"
)
THEN = (
    "Then save this as ask.py in the folder that you unpacked it in, and type “python ask.py” in "
    "the terminal:"
)
OWN_TEXT = (
    "Put your own text in the place of {place}. What stands around it is what the model was "
    "trained with."
)
NEEDS_BASE = (
    "The base model {name} can't be loaded by its name. Make a folder of it first, on a machine "
    "that has Gemma Keras Tune and that model:"
)
BASE_UNKNOWN = "NAME-OF-THE-BASE-MODEL"
CHECK_COLUMNS = ("What was checked", "Found")
YES = "yes"
NO = "no"
CHECKS = {
    "max_abs_diff": "Largest difference of a score (logit)",
    "tolerance": "Largest difference that is allowed",
    "argmax_agreement": "Places with the same likeliest token",
    "greedy_equal": "The same answer, token by token",
    "differs_from_base": "Another model than the base",
    "follows_tuned": "How much of what was learned is in it",
    "token_ids_equal": "The same tokens for the same text",
    "chat_ids_equal": "The same tokens for the same conversation",
    "special_ids_equal": "The special tokens have the right names",
    "stop_ids_equal": "It stops where it should",
}

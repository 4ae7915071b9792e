"""The texts of the playground."""

from __future__ import annotations

TITLE = "Playground"
NOT_TRAINED_TITLE = "There is nothing to try yet"
NOT_TRAINED = "When the training is over, you can ask the model here, beside the one it was before."
PROMPT = "What do you ask?"
PROMPT_HINT = "The text that the recipe puts around every prompt is added for you."
ASK = "Ask both"
STOP = "Stop"
TUNED = "After training"
BASE = "Before training"
SETTINGS = "How it chooses its words"
TEMPERATURE = "Temperature"
TOP_K = "Top-k"
TOP_P = "Top-p"
MAX_TOKENS = "Longest answer (tokens)"
SEED = "Seed"
NONE = "none"
WAITING = "Waits for its turn"
WRITING = "Writes"
DONE = "{tokens} tokens, {reason}"
REASONS = {"stop": "ended by itself", "length": "cut at the longest answer"}
STOPPED = "Stopped"
HOVER = (
    "Point at a token, or go to it with the Tab key, to see how sure the model was of it and what "
    "else it could have said. These are its own probabilities, before temperature, top-k and top-p."
)
EMPTY = "Type something first."
EARLIER = "Asked before"
TOKEN = "{text}: {probability}. Else: {others}"

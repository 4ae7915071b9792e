"""The texts of the playground."""

from __future__ import annotations

TITLE = "Playground"
NOT_TRAINED_TITLE = "There is nothing to try yet"
NOT_TRAINED = "When the training is over, you can ask the model here, beside the one it was before."
PROMPT = "What do you ask?"
PROMPTS = {"classification": "Text to label", "text": "Beginning of a text"}
ANOTHER = "Another held-back row"
RIGHT_ANSWER = "A row that the training never saw. Its right answer: {answer}"
GOES_ON = "The beginning of a text that the training never saw. It goes on: {answer}"
WAY = "How it is asked"
WAYS = {
    "trained": "As in training",
    "question": "As a question",
    "text": "As a text to go on with",
}
AS_TRAINED_TEXT = (
    "What stood around each text in the training is put around what you ask, too. The model reads:"
)
AS_IS_TEXT = (
    "Your text is sent as it is. The model has learned to answer with the text of the training "
    "around it, so it may answer worse."
)
AS_TEXT_TEXT = (
    "The model goes on where your text ends, as if it had begun it itself. It has learned to "
    "answer questions, so it may do worse."
)
AS_QUESTION_TEXT = (
    "The model answers your text as a question. It has learned to go on with texts, so it may "
    "answer worse."
)
ASK = "Ask both"
STOP = "Stop"
TUNED = "After training"
BASE = "Before training"
SETTINGS = "How it chooses its words"
SETTINGS_TEXT = (
    "As it stands, the model always takes the likeliest word, and answers the same every time. For "
    "more variety turn the temperature up to about 0.8. If it then talks nonsense, turn it down, "
    "or top-p to 0.9."
)
TEMPERATURE = "Temperature"
TOP_K = "Top-k"
TOP_P = "Top-p"
MAX_TOKENS = "Longest answer (tokens)"
SEED = "Seed"
HINTS = {
    "temperature": "0: no variety. 0.8: some. Above 1: wild.",
    "top_k": "Less: fewer words to choose from.",
    "top_p": "Less: only what is likely.",
    "max_tokens": "About four letters each.",
    "seed": "Above temperature 0: another number, another answer.",
}
NONE = "all"
WAITING = "Waits for its turn"
LOADING = "Loads the model and reads the question"
WRITING = "Writes"
DONE = "Done: {reason}, after {tokens} tokens"
REASONS = {"stop": "ended by itself", "length": "cut at the longest answer"}
STOPPED = "Stopped"
HOVER = (
    "The darker a piece of an answer, the less sure the model was of it. Point at it or tap it, or "
    "go there with the Tab key and the arrow keys, to see its probability and what else could have "
    "stood there. The probabilities are the model's own, before temperature, top-k and top-p."
)
CHANCES = "How sure it was"
CHOOSE = "Choose a piece to see how sure the model was of it."
EMPTY = "Type something first."
TOKEN = "{text}: {probability}. Else: {others}"

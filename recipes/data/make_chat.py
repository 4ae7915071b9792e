"""Writes `chat_train.jsonl` and `chat_test.jsonl` from the English ChatterBot corpus.

    pip download --no-deps chatterbot-corpus==1.3.3
    unzip chatterbot_corpus-1.3.3-py2.py3-none-any.whl
    python recipes/data/make_chat.py chatterbot_corpus

The tokenizer is the demo model's. The same package gives the same bytes.
"""

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from demo_tokens import demo_token_counter
from near_duplicates import jaccard, shingles

SEED = 20
TEST_ROWS = 60
MAX_TOKENS = 100  # of a prompt and its response together
NEAR_DUPLICATE = 0.5
WHOLE_TOPICS = ("trivia", "computers", "tech_support", "science", "greetings", "coding")
# Of these only the prompts named here: the others are out of place without their bot.
PICKED = {
    "ai": ("what is ai?", "what is a chat robot?", "what is a chatterbox"),
    "conversations": (
        "good morning, how are you?",
        "can i ask you a question?",
        "what does yolo mean?",
        "hello, i am here for my appointment.",
    ),
    "history": ("explain history",),
    "humor": ("what is humour?",),
    "literature": (
        "what is vineland",
        "who wrote vineland",
        "what is illuminatus",
        "what is mind children",
        "holden caulfield",
        "who wrote the idiot",
        "who wrote frankenstein",
        "why is the meaning of life 23",
    ),
    "money": (
        "what is a us dollar",
        "what is the stock market",
        "what is economics",
        "who is the owner of a publicly owned company",
        "interest rates",
    ),
    "movies": ("is hal alive", "do you know hal"),
    "sports": (
        "what is basketball",
        "what is baseball",
        "what is soccer",
        "what is cricket",
        "i play soccer",
    ),
}
# Wrong, out of date, misspelt, or no pleasant reading.
SKIPPED = re.compile(
    r"assassinat|killed|hitler|testicle|shot dead|diana|cloned|bathroom|illegal|rarest"
    r"|scissors|unit of memory|babies|vocal cords|help plants|power outages|twitter|combs"
    r"|smoke|absinthe|heineken|king of beers|cosmopolitan|first state|stewardess|clinton|duce"
    r"|national anthem|bridesmaids|youngest person|tick bite|rick and morty|driest|last drop"
    r"|air jordan|cold war end|every continent|medieval|rain diamonds|flag with|chinese women"
    r"|castro|obama|camels|most ancient forest|flinstones|windows or macos|name a computer|h2o"
    r"|do you know|do you understand|^tell me|wavelength|^chemistry|password|avogadro"
    r"|hardest rock|chickpeas|god save|bingo|hillary|blue ivy|m&m|happy feet|cold war rivals"
    r"|what kind|genie|eminem|ph level|gravitation|lion king|25%|beethoven van|most emmys"
    r"|oprah",
    re.IGNORECASE,
)
BROKEN_CODE = re.compile(
    r"=\s*$|\bin\}|\barr\[?$|//\s*$|#\s*$|=;|\(\)?=\s*\(|pivot = arr", re.MULTILINE
)
QUESTION = re.compile(
    r"(?:who|what|which|when|where|why|how|is|are|do you|does|did|can|have)\b", re.IGNORECASE
)


def main() -> None:
    """Reads the command line and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("package", type=Path, help="folder of the package chatterbot_corpus")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    folder = arguments.package / "data" / "english"
    rows = choose_rows(folder, count_tokens=demo_token_counter())
    for name, part in rows.items():
        with open(arguments.out / f"chat_{name}.jsonl", "w", encoding="utf-8", newline="") as file:
            for prompt, response in part:
                row = {"prompt": prompt, "response": response}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def choose_rows(
    folder: Path, *, count_tokens: Callable[[str], int]
) -> dict[str, list[tuple[str, str]]]:
    """Rows (prompt, response) of `train` and `test`, shuffled.

    Every prompt is there once. No row of the test set is a near-duplicate of any other row, by its
    prompt or as a whole; in the training set, one task may appear in two programming languages.
    """
    usable: dict[str, tuple[str, str]] = {}
    for topic in (*WHOLE_TOPICS, *PICKED):
        for prompt, response in read_topic(folder / f"{topic}.yml"):
            if count_tokens(prompt) + count_tokens(response) <= MAX_TOKENS:
                usable.setdefault(prompt.lower(), (prompt, response))
    rows = list(usable.values())
    random.Random(SEED).shuffle(rows)  # noqa: S311 - must repeat, needs no secrecy
    test: list[tuple[str, str]] = []
    for row in rows:
        alone = all(not row_is_near(row, other) for other in rows if other is not row)
        if alone and len(test) < TEST_ROWS:
            test.append(row)
    return {"train": [row for row in rows if row not in test], "test": test}


def row_is_near(left: tuple[str, str], right: tuple[str, str]) -> bool:
    """Whether two rows are near-duplicates, by their prompts or as a whole."""
    return any(
        jaccard(shingles(a), shingles(b)) >= NEAR_DUPLICATE
        for a, b in ((left[0], right[0]), (" ".join(left), " ".join(right)))
    )


def read_topic(path: Path) -> Iterator[tuple[str, str]]:
    """The usable pairs of one topic, tidied, in the order of the file."""
    picked = PICKED.get(path.stem)
    for conversation in yaml.safe_load(path.read_text("utf-8"))["conversations"]:
        if not isinstance(conversation, list) or len(conversation) < 2:
            continue
        prompt, response = str(conversation[0]).strip(), str(conversation[1]).strip()
        if picked is not None and prompt.lower() not in picked:
            continue
        if SKIPPED.search(prompt) or BROKEN_CODE.search(response) or response == "it":
            continue
        yield tidy_prompt(prompt), tidy_response(response)


def tidy_prompt(text: str) -> str:
    """The prompt on one line, with its capital letter and question mark."""
    text = " ".join(text.split())
    text = text.capitalize() if text.isupper() else text[0].upper() + text[1:]
    return text + "?" if QUESTION.match(text) and text[-1].isalnum() else text


def tidy_response(text: str) -> str:
    """The response with its capital letter; on one line unless it holds code."""
    if "```" not in text:
        text = " ".join(text.split())
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    main()

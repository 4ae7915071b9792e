"""Instruction rows of the usual spread of lengths, the same on every machine.

    python -m tests.bench.rows [--count N]

Real text: questions about NumPy's public functions, answered from their own documentation, some
with another part of it as context. The text is that of the installed NumPy, which is pinned
(BSD-3-Clause, https://numpy.org); nothing of it is kept in this repository. Rows have 20 to 512
tokens, 167 on average, and about 35 % of them are answers. Prints what they are like.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemma_keras_tune.text.tokenizer import Tokenizer

SHORTEST, LONGEST = 20, 512  # tokens, with those of the template
MEAN, SPREAD = 167, 0.85  # of the lengths: tokens, and the deviation of their logarithm
ANSWERS = 0.35  # share of the tokens
_MARKERS = 12  # tokens that a template adds, about
_HEADING = re.compile(r"^(\w[\w ]+)\n-{3,}\n", re.MULTILINE)
_QUESTIONS = {
    "Parameters": "Which parameters does `{name}` take?",
    "Returns": "What does `{name}` return?",
    "Notes": "What should one know about `{name}`?",
    "Examples": "How is `{name}` used? Show it.",
    "See Also": "What is related to `{name}`?",
}
_SUMMARY = "What does `{name}` do?"
_CONTEXT = "From the documentation of `{name}`:\n\n{context}\n\n{question}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A question and its answer, with their lengths in tokens."""

    prompt: str
    response: str
    prompt_tokens: int
    response_tokens: int

    @property
    def tokens(self) -> int:
        """Of the row, about: templates differ by a few."""
        return self.prompt_tokens + self.response_tokens + _MARKERS


def instruction_rows(tokenizer: Tokenizer, count: int, *, seed: int = 0) -> list[Row]:
    """The rows: for each of `count` drawn lengths and shares the nearest question still unasked.

    Args:
        tokenizer: Counts.
        count: Rows; at most as many as there are questions, some 3,000.
        seed: Of the drawn lengths.
    """
    candidates = [row for row in _candidates(tokenizer) if SHORTEST <= row.tokens <= LONGEST]
    if count > len(candidates):
        raise ValueError(f"there are {len(candidates)} different rows, fewer than {count}")
    rng = np.random.default_rng(seed)
    middle = np.log(MEAN) - SPREAD**2 / 2
    lengths = np.clip(rng.lognormal(middle, SPREAD, count), SHORTEST, LONGEST)
    lengths = np.clip(lengths * MEAN / lengths.mean(), SHORTEST, LONGEST)
    shares = rng.beta(7 * ANSWERS, 7 * (1 - ANSWERS), count)
    sizes = np.array([[row.prompt_tokens, row.response_tokens] for row in candidates], float)
    free = np.ones(len(candidates), bool)
    rows = []
    for length, share in zip(lengths, shares, strict=True):
        answer = max(2.0, share * length)
        wished = np.array([max(6.0, length - _MARKERS - answer), answer])
        distance = np.where(free, np.abs(sizes - wished).sum(axis=1), np.inf)
        chosen = int(distance.argmin())
        free[chosen] = False
        rows.append(candidates[chosen])
    return rows


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """The rows as JSONL with the columns `prompt` and `response`."""
    lines = [json.dumps({"prompt": row.prompt, "response": row.response}) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _candidates(tokenizer: Tokenizer) -> Iterator[Row]:
    """Every question with every context, in the order of the names."""

    def counted(text: str) -> int:
        return len(tokenizer.encode(text))

    for name, sections in _documented():
        summary = sections.pop("")
        asked = {_SUMMARY: summary}
        asked |= {_QUESTIONS[title]: text for title, text in sections.items()}
        contexts = [None, summary, *sections.values()]
        for (question, answer), context in itertools.product(asked.items(), contexts):
            if answer == context:
                continue
            prompt = question.format(name=name)
            if context is not None:
                prompt = _CONTEXT.format(name=name, context=context, question=prompt)
            yield Row(
                prompt=prompt,
                response=answer,
                prompt_tokens=counted(prompt),
                response_tokens=counted(answer),
            )


def _documented() -> Iterator[tuple[str, dict[str, str]]]:
    """Each public function with the sections of its documentation; the summary has no title."""
    seen: set[str] = set()
    for module in (np, np.linalg, np.fft):
        for name in sorted(module.__all__):
            thing = getattr(module, name)
            text = inspect.getdoc(thing) or ""
            if not callable(thing) or text in seen or "Parameters\n---" not in text:
                continue
            seen.add(text)
            yield f"{module.__name__}.{name}", _sections(text)


def _sections(text: str) -> dict[str, str]:
    head, *rest = _HEADING.split(text)
    sections = {"": head.strip().rpartition("\n\n")[2] or head.strip()}
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        if title in _QUESTIONS and body.strip():
            sections[title] = body.strip()
    return sections


def main() -> None:
    """Prints what the rows are like."""
    from gemma_keras_tune.model.load import load_model
    from gemma_keras_tune.recipe import ModelRecipe

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=46)
    count = parser.parse_args().count
    rows = instruction_rows(load_model(ModelRecipe()).tokenizer, count)
    lengths = np.array([row.tokens for row in rows])
    answers = sum(row.response_tokens for row in rows) / lengths.sum()
    tenths = np.percentile(lengths, range(10, 100, 10)).astype(int)
    print(f"{count} rows of {lengths.min()} to {lengths.max()} tokens, {lengths.mean():.0f} on the")
    print(f"average, {answers:.0%} of them answers; tenths of the lengths: {tenths}")
    print("The first row:\n")
    print(rows[0].prompt, rows[0].response, sep="\n\n")


if __name__ == "__main__":
    main()

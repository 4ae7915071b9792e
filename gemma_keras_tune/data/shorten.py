"""Which tokens of a too long example go: the row's own prompt, from its start, never an answer."""

from __future__ import annotations

from collections.abc import Sequence

from ..text.template import Part
from ..text.tokenizer import Tokenizer


def find_cuts(
    parts: Sequence[Part], *, max_length: int, kept: tuple[int, int]
) -> list[range] | None:
    """For every part, the positions in it that must go; None if it can't be done.

    Prompts lose tokens from their start, the oldest prompt first, because what stands next to
    the answer usually bears on it most, and a chat's newest turns do. The system text and the
    fixed words of `prompt_format` stay, every prompt keeps a token, and markers, answers and
    answers' ends are never touched. Raw text has no prompt: it loses its end, and with it its
    eos, since a text that was cut off does not end there.

    Args:
        parts: The parts of one rendered example.
        max_length: Tokens that may remain.
        kept: Tokens at the start and at the end of the first prompt that must stay.
    """
    excess = sum(len(part.ids) for part in parts) - max_length
    prompts = [index for index, part in enumerate(parts) if part.kind == "prompt"]
    cuts = [range(0)] * len(parts)
    if excess <= 0:
        return cuts
    if not prompts:
        return _cut_end(parts, excess)
    for index in prompts:
        head, tail = kept if index == prompts[0] else (0, 0)
        room = len(parts[index].ids) - max(head + tail, 1)
        size = min(excess, max(0, room))
        cuts[index] = range(head, head + size)
        excess -= size
    return None if excess > 0 else cuts


def frame_tokens(part: Part, frame: tuple[str, str], tokenizer: Tokenizer) -> tuple[int, int]:
    """How many tokens at the start and the end of a prompt are those of the text around it."""
    before, after = (tokenizer.encode(text) for text in frame)
    return _same(part.ids, before), _same(part.ids[::-1], after[::-1])


def _cut_end(parts: Sequence[Part], excess: int) -> list[range] | None:
    cuts = [range(0)] * len(parts)
    for index in range(len(parts) - 1, 0, -1):
        size = len(parts[index].ids)
        gone = min(excess, size)
        cuts[index] = range(size - gone, size)
        excess -= gone
    return None if excess > 0 else cuts


def _same(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count

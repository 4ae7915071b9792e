"""Batched generation with a KV cache, and few compiled shapes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import DataError
from ..model.value import Model
from ..out_of_memory import told_of_memory
from ..text.turns import Turn
from .progress import OnEvent, Reporter
from .sampling import Sampling, make_sampling
from .token_loop import Rules, State, TokenLoop, row_keys

Prompt = str | Sequence[Turn] | Sequence[int]
OnToken = Callable[[int, int], None]

_FIRST_ROOM = 64  # new tokens that the first cache has room for; doubled when they are used up
_STOP_SLOTS = 8


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One generated answer.

    Attributes:
        prompt_ids: Token ids of the prompt.
        ids: The generated ids; where `stop_reason` is `stop`, the last one is the stop id.
        text: The answer as text, without the stop id.
        stop_reason: `stop`: the model ended its answer; `length`: it ran into `max_tokens`, or
            into the longest sequence that the model was made for.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    stop_reason: Literal["stop", "length"]


@told_of_memory("generation")
def generate(
    model: Model,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop_ids: Sequence[int] | None = None,
    batch_rows: int = 8,
    on_token: OnToken | None = None,
    on_event: OnEvent | None = None,
) -> list[Generation]:
    """The model's answers, one for each prompt, in the order of the prompts.

    A sampled answer depends on the seed and on its prompt's place in `prompts`, not on the other
    prompts or on `batch_rows`.

    Args:
        model: Its template renders texts and turns, and has the default stop ids.
        prompts: Each a text (one user turn), turns that end with the user's, or token ids.
        max_tokens: Longest answer, tokens.
        temperature: 0 takes the most probable token; more makes unlikely tokens likelier.
        top_k: Choose among so many most probable tokens.
        top_p: Choose among the most probable tokens that together have this probability.
        seed: Changes the choice where the temperature is above 0.
        stop_ids: Ids that end an answer, instead of the template's; `()` for none.
        batch_rows: Prompts that are answered at once, at most.
        on_token: Called with (index of the prompt, token id) for each new token, a few tokens
            late.
        on_event: Receives `Progress` of the stage `generation`, counted in answers.

    Raises:
        ValueError: If an argument is out of its range.
        DataError: `PROMPT_TOO_LONG`, or what the template refuses.
        OutOfMemory: If there isn't enough memory for so many rows.
    """
    _check(prompts, max_tokens=max_tokens, batch_rows=batch_rows, seed=seed)
    config = model.config
    stops = tuple(model.template.stop_ids if stop_ids is None else stop_ids)
    job = _Job(
        model=model,
        loop=TokenLoop(model.config, model.weights, model.adapters),
        prompt_ids=[_prompt_ids(model, prompt, place) for place, prompt in enumerate(prompts)],
        sampling=make_sampling(temperature, top_k, top_p, vocab_size=config.vocab_size),
        seed=seed,
        stop_ids=stops,
        max_tokens=max_tokens,
        batch_rows=min(batch_rows, _bucket(len(prompts), smallest=1)),
        on_token=on_token,
        reporter=Reporter("generation", len(prompts), on_event),
    )
    order = sorted(range(len(prompts)), key=lambda place: len(job.prompt_ids[place]))
    answers: dict[int, Generation] = {}
    for first in range(0, len(order), job.batch_rows):
        batch = order[first : first + job.batch_rows]
        answers.update(_answer_batch(job, batch, finished=first))
    return [answers[place] for place in range(len(prompts))]


def check_prompts(model: Model, prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that `generate` could not answer.

    Raises:
        ValueError: If ids are missing or outside the vocabulary.
        DataError: `PROMPT_TOO_LONG`, or what the template refuses.
    """
    for place, prompt in enumerate(prompts):
        _prompt_ids(model, prompt, place)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What stays the same for all batches of one call."""

    model: Model
    loop: TokenLoop
    prompt_ids: list[tuple[int, ...]]
    sampling: Sampling
    seed: int
    stop_ids: tuple[int, ...]
    max_tokens: int
    batch_rows: int
    on_token: OnToken | None
    reporter: Reporter

    def limit(self, place: int) -> int:
        """Longest answer to that prompt, tokens."""
        return min(self.max_tokens, self.model.config.max_positions - len(self.prompt_ids[place]))


def _answer_batch(
    job: _Job, places: Sequence[int], *, finished: int
) -> Iterator[tuple[int, Generation]]:
    """(place, answer) of the prompts at `places`, computed together after `finished` others."""
    token_ids, rules = _batch_arrays(job, places)
    room = min(_FIRST_ROOM, _bucket(int(rules.limits.max()), smallest=16))
    state = job.loop.first_tokens(token_ids, rules, room=room)
    told = np.zeros(len(places), np.int64)
    stride = 32 if job.on_token is None else 4
    while not _tell(job, state, places, told=told, finished=finished):
        step = int(state.step)
        if step == room:
            room *= 2
            state = job.loop.with_room(state, slots=token_ids.shape[1] + room, room=room)
        state = job.loop.more_tokens(state, rules, until=min(step + stride, room))
    ids, counts = np.asarray(state.ids), np.asarray(state.counts)
    for row, place in enumerate(places):
        found = tuple(ids[row, : counts[row]].tolist())
        yield place, _generation(job.model, job.prompt_ids[place], found, job.stop_ids)


def _batch_arrays(job: _Job, places: Sequence[int]) -> tuple[jax.Array, Rules]:
    """Right-padded prompts `[batch_rows, bucket]`, and the rules; rows without prompt are done."""
    rows = job.batch_rows
    longest = max(len(job.prompt_ids[place]) for place in places)
    token_ids = np.zeros((rows, _bucket(longest, smallest=32)), np.int32)
    lengths, limits = np.ones(rows, np.int32), np.zeros(rows, np.int32)
    for row, place in enumerate(places):
        ids = job.prompt_ids[place]
        token_ids[row, : len(ids)] = ids
        lengths[row], limits[row] = len(ids), job.limit(place)
    stops = np.full(_bucket(len(job.stop_ids), smallest=_STOP_SLOTS), -1, np.int32)
    stops[: len(job.stop_ids)] = job.stop_ids
    of_rows = jnp.asarray([*places] + [0] * (rows - len(places)), jnp.uint32)
    rules = Rules(
        row_keys=row_keys(jnp.uint32(job.seed), of_rows),
        lengths=jnp.asarray(lengths),
        limits=jnp.asarray(limits),
        stop_ids=jnp.asarray(stops),
        sampling=job.sampling,
    )
    return jnp.asarray(token_ids), rules


def _tell(
    job: _Job, state: State, places: Sequence[int], *, told: np.ndarray, finished: int
) -> bool:
    """Whether all rows are done, after handing out new tokens and the progress.

    `told` `[rows]`, how many tokens of each row were handed out, is brought up to date.
    """
    counts, done = np.asarray(state.counts), np.asarray(state.done)[: len(places)]
    if job.on_token is not None:
        ids = np.asarray(state.ids)
        for row, place in enumerate(places):
            for token in ids[row, told[row] : counts[row]]:
                job.on_token(place, int(token))
            told[row] = counts[row]
    shares = (counts[row] / job.limit(place) for row, place in enumerate(places))
    work = sum(1.0 if done[row] else float(share) for row, share in enumerate(shares))
    job.reporter.report(finished + int(done.sum()), work=finished + work)
    return bool(done.all())


def _generation(
    model: Model, prompt_ids: tuple[int, ...], ids: tuple[int, ...], stop_ids: tuple[int, ...]
) -> Generation:
    stopped = ids[-1] in stop_ids
    content = ids[:-1] if stopped else ids
    known = [token for token in content if token < model.tokenizer.vocab_size]
    return Generation(
        prompt_ids=prompt_ids,
        ids=ids,
        text=model.tokenizer.decode(known),
        stop_reason="stop" if stopped else "length",
    )


def _prompt_ids(model: Model, prompt: Prompt, place: int) -> tuple[int, ...]:
    """Token ids of one prompt, checked against the model.

    Raises:
        ValueError: If ids are missing or outside the vocabulary.
        DataError: If the template refuses it, or it leaves no room for an answer.
    """
    config = model.config
    is_turns = isinstance(prompt, Sequence) and len(prompt) > 0 and isinstance(prompt[0], Turn)
    if isinstance(prompt, str) or is_turns:
        turns: Any = [Turn("user", prompt)] if isinstance(prompt, str) else prompt
        try:
            ids = model.template.render(turns, add_generation_prompt=True).ids
        except DataError as error:
            raise DataError(f"Prompt {place + 1}: {error}", code=error.code) from error
    else:  # neither text nor turns: token ids, which the type checker can't see
        try:
            ids = tuple(map(operator.index, prompt))  # type: ignore[arg-type]
        except TypeError:
            ids = ()
        if not ids or min(ids) < 0 or max(ids) >= config.vocab_size:
            raise ValueError(
                f"prompts[{place}] must be a text, some `gemma_keras_tune.Turn`, or at least one "
                f"token id within 0..{config.vocab_size - 1}"
            )
    if len(ids) >= config.max_positions:
        raise DataError(
            f"Prompt {place + 1} has {len(ids)} tokens; with an answer the model takes at most "
            f"{config.max_positions}. Shorten it.",
            code="PROMPT_TOO_LONG",
        )
    return ids


def _check(prompts: Sequence[Prompt], *, max_tokens: int, batch_rows: int, seed: int) -> None:
    if isinstance(prompts, str):
        raise ValueError("prompts must be a list of prompts, not one text: write [prompt]")
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    if batch_rows < 1:
        raise ValueError(f"batch_rows must be at least 1, not {batch_rows}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0..{2**32 - 1}, not {seed}")


def _bucket(size: int, *, smallest: int) -> int:
    """The smallest power of two that holds `size` and is at least `smallest`."""
    return max(smallest, 1 << max(size - 1, 0).bit_length())

"""Batched generation with a KV cache: few compiled shapes, and the token loop on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import DataError
from ..model.config import GemmaConfig
from ..model.decode import Cache, empty_cache, extend, grow_cache, prefill
from ..model.forward import logits
from ..model.lora import Adapters
from ..model.value import Model
from ..out_of_memory import told_of_memory
from ..text.turns import Turn
from .progress import OnEvent, Reporter
from .sampling import Sampling, choose, make_sampling

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
        batch_rows: Prompts that are answered at once.
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
        prompt_ids=[_prompt_ids(model, prompt, place) for place, prompt in enumerate(prompts)],
        sampling=make_sampling(temperature, top_k, top_p, vocab_size=config.vocab_size),
        seed=seed,
        stop_ids=stops,
        max_tokens=max_tokens,
        batch_rows=batch_rows,
        on_token=on_token,
        reporter=Reporter("generation", len(prompts), on_event),
    )
    order = sorted(range(len(prompts)), key=lambda place: len(job.prompt_ids[place]))
    answers: dict[int, Generation] = {}
    for first in range(0, len(order), batch_rows):
        batch = order[first : first + batch_rows]
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


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("row_keys", "lengths", "limits", "stop_ids", "sampling"),
    meta_fields=(),
)
@dataclass(frozen=True, kw_only=True)
class _Rules:
    """What a batch's rows are bound to: `[batch]` keys, prompt lengths and longest answers."""

    row_keys: jax.Array
    lengths: jax.Array
    limits: jax.Array
    stop_ids: jax.Array
    sampling: Sampling


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("cache", "ids", "counts", "done", "step"),
    meta_fields=(),
)
@dataclass(frozen=True, kw_only=True)
class _State:
    """A batch after `step` tokens a row: `ids` `[batch, room]`, `counts` and `done` `[batch]`."""

    cache: Cache
    ids: jax.Array
    counts: jax.Array
    done: jax.Array
    step: jax.Array


def _answer_batch(
    job: _Job, places: Sequence[int], *, finished: int
) -> Iterator[tuple[int, Generation]]:
    """(place, answer) of the prompts at `places`, computed together after `finished` others."""
    model, arrays = job.model, (job.model.config, job.model.weights, job.model.adapters)
    token_ids, rules = _batch_arrays(job, places)
    room = min(_FIRST_ROOM, _bucket(int(rules.limits.max()), smallest=16))
    state = _first_tokens(*arrays, token_ids, rules, room=room)
    told = np.zeros(len(places), np.int64)
    stride = 32 if job.on_token is None else 4
    while not _tell(job, state, places, told=told, finished=finished):
        step = int(state.step)
        if step == room:
            room *= 2
            slots = token_ids.shape[1] + room
            state = _with_room(model.config, state, slots=slots, room=room)
        state = _more_tokens(*arrays, state, rules, until=min(step + stride, room))
    ids, counts = np.asarray(state.ids), np.asarray(state.counts)
    for row, place in enumerate(places):
        found = tuple(ids[row, : counts[row]].tolist())
        yield place, _generation(model, job.prompt_ids[place], found, job.stop_ids)


def _batch_arrays(job: _Job, places: Sequence[int]) -> tuple[jax.Array, _Rules]:
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
    rules = _Rules(
        row_keys=_row_keys(jnp.uint32(job.seed), of_rows),
        lengths=jnp.asarray(lengths),
        limits=jnp.asarray(limits),
        stop_ids=jnp.asarray(stops),
        sampling=job.sampling,
    )
    return jnp.asarray(token_ids), rules


@jax.jit
def _row_keys(seed: jax.Array, places: jax.Array) -> jax.Array:
    """`[batch]` keys that depend on the seed and on each prompt's place."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), places)


@partial(jax.jit, static_argnames=("config", "room"))
def _first_tokens(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    token_ids: jax.Array,
    rules: _Rules,
    *,
    room: int,
) -> _State:
    """The state after the prompts and one token a row, with room for `room` new tokens."""
    batch, length = token_ids.shape
    dtype = weights["embedding"].dtype
    hidden, cache = prefill(
        config,
        weights,
        token_ids,
        lengths=rules.lengths,
        cache=empty_cache(config, batch=batch, slots=length + room, dtype=dtype),
        adapters=adapters,
    )
    state = _State(
        cache=cache,
        ids=jnp.zeros((batch, room), jnp.int32),
        counts=jnp.zeros(batch, jnp.int32),
        done=rules.limits < 1,
        step=jnp.int32(0),
    )
    return _with_next(config, weights, state, rules, hidden)


@partial(jax.jit, static_argnames=("config",), donate_argnames=("state",))
def _more_tokens(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    state: _State,
    rules: _Rules,
    *,
    until: jax.Array,
) -> _State:
    """The state after `until` tokens a row, or when all rows are done."""

    def goes_on(state: _State) -> jax.Array:
        return (state.step < until) & ~state.done.all()

    def one_more(state: _State) -> _State:
        token_ids = jax.lax.dynamic_slice_in_dim(state.ids, state.step - 1, 1, axis=1)
        starts = rules.lengths + state.step - 1
        hidden, cache = extend(
            config, weights, token_ids, starts=starts, cache=state.cache, adapters=adapters
        )
        return _with_next(config, weights, replace(state, cache=cache), rules, hidden[:, 0])

    return jax.lax.while_loop(goes_on, one_more, state)


def _with_next(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    state: _State,
    rules: _Rules,
    hidden: jax.Array,
) -> _State:
    """The state with the token that follows `hidden` `[batch, width]` added to each row."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(rules.row_keys, state.step)
    tokens = choose(logits(config, weights, hidden), rules.sampling, keys)
    counts = state.counts + ~state.done
    stopped = (tokens[:, None] == rules.stop_ids).any(axis=-1)
    return replace(
        state,
        ids=jax.lax.dynamic_update_slice_in_dim(state.ids, tokens[:, None], state.step, axis=1),
        counts=counts,
        done=state.done | stopped | (counts >= rules.limits),
        step=state.step + 1,
    )


def _with_room(config: GemmaConfig, state: _State, *, slots: int, room: int) -> _State:
    ids = jnp.pad(state.ids, [(0, 0), (0, room - state.ids.shape[1])])
    return replace(state, cache=grow_cache(config, state.cache, slots=slots), ids=ids)


def _tell(
    job: _Job, state: _State, places: Sequence[int], *, told: np.ndarray, finished: int
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
    if isinstance(prompt, str) or (len(prompt) > 0 and isinstance(prompt[0], Turn)):
        turns: Any = [Turn("user", prompt)] if isinstance(prompt, str) else prompt
        try:
            ids = model.template.render(turns, add_generation_prompt=True).ids
        except DataError as error:
            raise DataError(f"Prompt {place + 1}: {error}", code=error.code) from error
    else:  # neither text nor turns: token ids, which the type checker can't see
        ids = tuple(int(token) for token in prompt)  # type: ignore[arg-type]
        if not ids or min(ids) < 0 or max(ids) >= config.vocab_size:
            raise ValueError(
                f"prompts[{place}] must be a text, turns, or at least one token id within "
                f"0..{config.vocab_size - 1}"
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

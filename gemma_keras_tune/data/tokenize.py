"""Examples to token ids and answer masks, kept on disk by the hash of all that makes them."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..text.template import Part, Template
from ..text.turns import Turn
from .findings import Finding, HasPlace, finding, finding_about, place, raise_errors
from .scratch import Scratch
from .shorten import find_cuts, frame_tokens
from .token_cache import read_arrays, write_arrays

TooLong = Literal["error", "truncate", "drop"]
LOW_SUPERVISED_SHARE = 0.01
_CACHE_VERSION = 2
_BLOCK = 4096  # examples that are looked at together


class Tokenizable(HasPlace, Protocol):
    """What an example must have; `examples.Example` has it."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What is said."""

    @property
    def label(self) -> str | None:
        """The label of a classification."""

    @property
    def frame(self) -> tuple[str, str]:
        """Text around the first prompt that shortening spares."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSet:
    """Token ids of many examples, end to end.

    Example `i` is `ids[offsets[i]:offsets[i + 1]]`. Where there are many, `ids` and `supervised`
    lie in a file of which only what is looked at comes into memory, and may leave it again.

    Args:
        ids: `[total]` int32 token ids; every example begins with bos.
        supervised: `[total]` bool, True on tokens that the model must predict.
        offsets: `[n + 1]` int64 positions where examples begin, and the total.
        rows: `[n]` int64 index of each example in what was given; gaps are dropped examples.
        cut_rows: `[k]` int64 indices of the examples that were shortened.
        dropped_rows: `[d]` int64 indices of the examples that were left out.
        cut: Tokens that were cut away in all.
        findings: Warnings: what was cut or dropped, and too few answer tokens.
    """

    ids: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    cut_rows: npt.NDArray[np.int64]
    dropped_rows: npt.NDArray[np.int64]
    cut: int
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """`[n]` int64 tokens of each example."""
        return np.diff(self.offsets)

    @property
    def supervised_tokens(self) -> int:
        """Tokens that the model must predict, in all."""
        return int(np.count_nonzero(self.supervised))

    def example(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """`(ids, supervised)` of one example, both `[length]`."""
        span = slice(self.offsets[index], self.offsets[index + 1])
        return self.ids[span], self.supervised[span]

    def prompt(self, index: int) -> npt.NDArray[np.int32]:
        """`[p]` ids before an example's last answer: what generation starts from."""
        ids, supervised = self.example(index)
        context = np.flatnonzero(~supervised[: _last(supervised) + 1])
        return ids[: context[-1] + 1 if len(context) else 0]


def tokenize_examples(
    examples: Sequence[Tokenizable],
    template: Template,
    *,
    max_length: int,
    too_long: TooLong = "error",
    labels: Sequence[str] = (),
    cache_dir: str | os.PathLike[str] | None = None,
) -> TokenSet:
    """Token ids and answer mask of every example.

    Args:
        examples: What to encode.
        template: Turns them into ids.
        max_length: Most tokens of an example.
        too_long: `error` refuses longer ones, `truncate` shortens their prompts
            (`shorten.find_cuts` says how), `drop` leaves them out.
        labels: All labels of a classification. Prompts are shortened until the longest of them
            would fit: otherwise the length of a prompt would tell its row's label.
        cache_dir: A folder for the result, named by the hash of examples, tokenizer, template
            and limits. A damaged one is made again.

    Raises:
        DataError: `TOO_LONG`, `ALL_ROWS_TOO_LONG`, `ANSWER_TOO_LONG`, `NOTHING_SUPERVISED`,
            `EMPTY_DATASET`, or what `Template.render` raises, with file and row.
        TuneError: `NEEDS_SPACE` or `SCRATCH_FOLDER`, if there are too many for memory and the disk
            doesn't take them.
    """
    if not examples:
        raise DataError("There are no examples to encode.", code="EMPTY_DATASET")
    answer_room = _answer_room(template, labels) if too_long == "truncate" else 0
    path = None
    tokens = None
    if cache_dir is not None:
        key = _cache_key(
            examples, template, max_length=max_length, too_long=too_long, answer_room=answer_room
        )
        path = Path(cache_dir) / f"tokens-{key}"
        tokens = _read_cache(path)
    if tokens is None:
        tokens = _encode(
            examples, template, max_length=max_length, too_long=too_long, answer_room=answer_room
        )
        if path is not None:
            _write_cache(path, tokens)
            tokens = _read_cache(path) or tokens  # so that they aren't on a disk twice
    findings = _judge(tokens, examples, max_length=max_length)
    raise_errors(findings)
    arrays = {name: getattr(tokens, name) for name in _ARRAYS}
    return TokenSet(**arrays, cut=tokens.cut, findings=tuple(findings))


def fit(
    example: Tokenizable, template: Template, *, max_length: int, labels: Sequence[str] = ()
) -> tuple[list[Part], list[range] | None]:
    """The parts of an example, and what of each must be cut to fit; None if it can't fit.

    Args:
        example: What to encode.
        template: Turns it into ids.
        max_length: Most tokens of it.
        labels: As in `tokenize_examples`, where it may be shortened.

    Raises:
        DataError: What `Template.render` raises, with file and row.
    """
    answer_room = _answer_room(template, labels)
    parts, cuts, _ = _fit(example, template, max_length=max_length, answer_room=answer_room)
    return parts, cuts


def _answer_room(template: Template, labels: Sequence[str]) -> int:
    """Tokens of the longest label and its end; 0 without labels."""
    return max((len(template.answer(label)) for label in labels), default=0)


def _fit(
    example: Tokenizable, template: Template, *, max_length: int, answer_room: int
) -> tuple[list[Part], list[range] | None, int]:
    """What `fit` gives, and the tokens that it would have with the room for its answer."""
    try:
        parts = template.parts(example.turns)
    except DataError as error:
        where = place(example.file, example.row)
        found = finding(error.code, str(error), where=[where])
        raise DataError(f"{where}: {error}", code=error.code, findings=[found]) from error
    answer = sum(len(part.ids) for part in parts if part.supervised)
    spare = max(0, answer_room - answer)
    needed = sum(len(part.ids) for part in parts) + spare
    kept = (0, 0)
    if needed > max_length and any(example.frame):
        first = next(part for part in parts if part.kind == "prompt")
        kept = frame_tokens(first, example.frame, template.tokenizer)
    return parts, find_cuts(parts, max_length=max_length - spare, kept=kept), needed


def _encode(
    examples: Sequence[Tokenizable],
    template: Template,
    *,
    max_length: int,
    too_long: TooLong,
    answer_room: int,
) -> TokenSet:
    ids, mask, offsets, rows = Scratch(), Scratch(), array("q", [0]), array("q")
    cut_rows, over, hopeless = array("q"), array("q"), array("q")
    cut = longest = 0
    for index, example in enumerate(examples):
        parts, cuts, length = _fit(
            example, template, max_length=max_length, answer_room=answer_room
        )
        longest = max(longest, length)
        if length > max_length:
            over.append(index)
            if cuts is None:
                hopeless.append(index)
            if cuts is None or too_long != "truncate":
                continue
            cut += length - max_length
            cut_rows.append(index)
        kept_ids, kept_mask = array("i"), bytearray()
        for part, gone in zip(parts, cuts or [], strict=True):
            kept = part.ids[: gone.start] + part.ids[gone.stop :] if gone else part.ids
            kept_ids.extend(kept)
            kept_mask += bytes([part.supervised]) * len(kept)
        ids.append(kept_ids.tobytes())
        mask.append(bytes(kept_mask))
        offsets.append(offsets[-1] + len(kept_ids))
        rows.append(index)
    _refuse_long(
        examples,
        over,
        hopeless,
        too_long=too_long,
        max_length=max_length,
        longest=longest,
        with_label=answer_room > 0,
    )
    return TokenSet(
        ids=ids.array(np.int32),
        supervised=mask.array(np.bool_),
        offsets=np.frombuffer(offsets, np.int64),
        rows=np.frombuffer(rows, np.int64),
        cut_rows=np.frombuffer(cut_rows, np.int64),
        dropped_rows=np.frombuffer(over if too_long == "drop" else array("q"), np.int64),
        cut=cut,
    )


def _refuse_long(
    examples: Sequence[Tokenizable],
    over: Sequence[int],
    hopeless: Sequence[int],
    *,
    too_long: TooLong,
    max_length: int,
    longest: int,
    with_label: bool,
) -> None:
    """Stop where long examples may not, or can't, be made to fit.

    Raises:
        DataError: `ALL_ROWS_TOO_LONG`, `TOO_LONG` or `ANSWER_TOO_LONG`.
    """
    code, rows = "", over
    if too_long != "truncate" and len(over) == len(examples):
        code = "ALL_ROWS_TOO_LONG"
        what = "The only row is" if len(over) == 1 else f"All {len(over)} rows are"
    elif too_long == "error" and over:
        code, what = "TOO_LONG", f"{len(over)} of {len(examples)} rows {_are(over)}"
    elif too_long == "truncate" and hopeless:
        code, rows = "ANSWER_TOO_LONG", hopeless
        what = f"Even without their prompts, {len(hopeless)} of the rows {_are(hopeless)}"
        if with_label:
            what += ", with the longest label,"
    if code:
        text = f"{what} longer than {max_length} tokens (the longest has {longest})."
        raise_errors([finding_about(code, text, examples, rows)])


def _are(rows: Sequence[int]) -> str:
    return "is" if len(rows) == 1 else "are"


def _judge(tokens: TokenSet, examples: Sequence[Tokenizable], *, max_length: int) -> list[Finding]:
    """What a token set leaves to say about the data."""
    found = []
    if len(tokens.cut_rows):
        what = f"{tokens.cut} tokens were cut to keep to {max_length} a row."
        found.append(finding_about("TRUNCATED", what, examples, tokens.cut_rows))
    if len(tokens.dropped_rows):
        what = f"Rows longer than {max_length} tokens were left out."
        found.append(finding_about("DROPPED", what, examples, tokens.dropped_rows))
    if not tokens.supervised_tokens:
        found.append(finding("NOTHING_SUPERVISED", "No token of any row is an answer."))
        return found
    without = tokens.rows[_without_answer(tokens)]
    if len(without):
        found.append(
            finding_about("UNSUPERVISED_ROWS", "Some rows have no answer.", examples, without)
        )
    share = tokens.supervised_tokens / len(tokens.ids)
    if share < LOW_SUPERVISED_SHARE and any(example.label is None for example in examples):
        what = f"Only {share:.2%} of all tokens are answers ({LOW_SUPERVISED_SHARE:.0%} is usual)."
        found.append(finding("LOW_SUPERVISED_SHARE", what))
    return found


def _without_answer(tokens: TokenSet) -> npt.NDArray[np.int64]:
    """Indices of the examples of which no token is supervised, `[k]` int64."""
    found = []
    for start in range(0, len(tokens), _BLOCK):  # all at once would be cast to eight bytes a token
        begins = tokens.offsets[start : start + _BLOCK + 1]
        block = tokens.supervised[begins[0] : begins[-1]]
        answers = np.add.reduceat(block, begins[:-1] - begins[0], dtype=np.int64)
        found.append(start + np.flatnonzero(answers == 0))
    return np.concatenate(found)


def _last(supervised: npt.NDArray[np.bool_]) -> int:
    """Position of the last supervised token, or of the last token if there is none."""
    on = np.flatnonzero(supervised)
    return int(on[-1]) if len(on) else len(supervised) - 1


_ARRAYS = ("ids", "supervised", "offsets", "rows", "cut_rows", "dropped_rows")


def _cache_key(
    examples: Sequence[Tokenizable],
    template: Template,
    *,
    max_length: int,
    too_long: TooLong,
    answer_room: int,
) -> str:
    markup = (template.user_open, template.user_close, template.model_open, template.answer_end)
    head = (
        _CACHE_VERSION,
        template.tokenizer.sha256,
        template.name,
        (*markup, template.model_close, template.between),
        max_length,
        too_long,
        answer_room,
    )
    digest = hashlib.sha256(repr(head).encode())
    for example in examples:
        turns = [(turn.role, turn.text) for turn in example.turns]
        digest.update(repr((turns, example.frame)).encode())
    return digest.hexdigest()


def _read_cache(folder: Path) -> TokenSet | None:
    stored = read_arrays(folder, (*_ARRAYS, "cut"))
    if stored is None:
        return None
    arrays: dict[str, Any] = {name: stored[name] for name in _ARRAYS}
    return TokenSet(**arrays, cut=int(stored["cut"]))


def _write_cache(folder: Path, tokens: TokenSet) -> None:
    arrays = {name: getattr(tokens, name) for name in _ARRAYS}
    write_arrays(folder, {**arrays, "cut": np.array(tokens.cut, np.int64)})

"""Turns of a conversation to token ids and the answer mask: one template for every use.

Training, generation and export all ask here. Markers go in by id and content is encoded apart,
so no text can forge a turn, and the mask comes from the structure, never from searching ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from ..errors import DataError, ModelError
from .jinja import chat_template
from .tokenizer import Tokenizer
from .turns import Turn, check_turns


@dataclass(frozen=True)
class Rendered:
    """Token ids of some turns, and which of them the model must predict.

    Args:
        ids: Token ids, beginning with bos.
        supervised: As long as `ids`; True on answer tokens, the answer's end included.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Template:
    """How turns become ids for one tokenizer; make it with `template_for`.

    A conversation is `bos`, then for every exchange `user_open`, the user's text, `user_close`,
    `model_open`, the answer, `answer_end` and `model_close`; `between` stands before every
    exchange but the first. A system text is a turn of its own between `system_open` and
    `system_close`; where those are empty, it stands before the first user's text.

    Args:
        name: A name that `template_for` knows.
        tokenizer: Encodes the content.
        stop_ids: Ids after which generation stops.
        jinja: Chat template with which `transformers` makes identical ids.
        user_open: Ids before a user's text.
        user_close: Ids after it.
        model_open: Ids before an answer; the end of a generation prompt.
        answer_end: Ids that end an answer, and that the model must learn to say.
        model_close: Ids after an answer's end, which nobody has to predict.
        between: Ids between two exchanges.
        system_open: Ids before a system text that is a turn of its own; empty if it isn't.
        system_close: Ids after it.
    """

    name: str
    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    jinja: str = field(repr=False)
    user_open: tuple[int, ...]
    user_close: tuple[int, ...]
    model_open: tuple[int, ...]
    answer_end: tuple[int, ...]
    model_close: tuple[int, ...]
    between: tuple[int, ...]
    system_open: tuple[int, ...] = ()
    system_close: tuple[int, ...] = ()

    def render(self, turns: Sequence[Turn], *, add_generation_prompt: bool = False) -> Rendered:
        """Token ids of the turns, beginning with bos, and the answer mask.

        Args:
            turns: An optional system turn, then user and model in turn; or one `text`.
            add_generation_prompt: End where the model's next answer begins. The last turn must
                then be the user's, or a `text`, which is left without its eos.

        Raises:
            DataError: `NO_TURNS`, `UNKNOWN_ROLE`, `ROLE_ORDER`, `EMPTY_TURN` or
                `LONE_SURROGATE`; the text names the turn.
        """
        parts = self.parts(turns, add_generation_prompt=add_generation_prompt)
        ids: list[int] = []
        supervised: list[bool] = []
        for part in parts:
            ids += part.ids
            supervised += [part.supervised] * len(part.ids)
        return Rendered(tuple(ids), tuple(supervised))

    def parts(self, turns: Sequence[Turn], *, add_generation_prompt: bool = False) -> list[Part]:
        """The pieces that `render` joins, each with what it is: for shortening and for display.

        Raises:
            DataError: As `render`.
        """
        check_turns(turns, add_generation_prompt=add_generation_prompt)
        parts = [Part((self.tokenizer.bos_id,), "markup")]
        if turns[0].role == "text":
            return parts + self._raw_text(turns[0].text, open_end=add_generation_prompt)
        system = [turn.text.strip() for turn in turns if turn.role == "system"]
        talk = [turn for turn in turns if turn.role != "system"]
        if system and self.system_open:
            parts.append(Part(self.system_open, "markup"))
            parts.append(Part(tuple(self.tokenizer.encode(system.pop())), "prompt"))
            parts.append(Part(self.system_close, "markup"))
        for index, turn in enumerate(talk):
            text = turn.text.strip()
            if turn.role == "user":
                opening = (self.between if index else ()) + self.user_open
                content = "\n\n".join([*system, text]) if index == 0 else text
                parts.append(Part(opening, "markup"))
                parts.append(Part(tuple(self.tokenizer.encode(content)), "prompt"))
                parts.append(Part(self.user_close, "markup"))
            else:
                parts.append(Part(self.model_open, "markup"))
                parts.append(Part(tuple(self.tokenizer.encode(text)), "answer"))
                parts.append(Part(self.answer_end, "answer_end"))
                parts.append(Part(self.model_close, "markup"))
        if add_generation_prompt:
            parts.append(Part(self.model_open, "markup"))
        return parts

    def answer(self, text: str) -> tuple[int, ...]:
        """Ids of one answer and its end, as they follow a rendered generation prompt.

        Args:
            text: The answer; surrounding white space is dropped.

        Raises:
            DataError: `EMPTY_TURN`, if nothing is left of it.
        """
        if not text.strip():
            raise DataError("The answer is empty. Give it some text.", code="EMPTY_TURN")
        return (*self.tokenizer.encode(text.strip()), *self.answer_end)

    def _raw_text(self, text: str, *, open_end: bool) -> list[Part]:
        content = Part(tuple(self.tokenizer.encode(text)), "answer")
        return [content] if open_end else [content, Part((self.tokenizer.eos_id,), "answer_end")]


PartKind = Literal["markup", "prompt", "answer", "answer_end"]


@dataclass(frozen=True)
class Part:
    """A run of token ids of one kind.

    Args:
        ids: The token ids.
        kind: `markup`, a user's `prompt` (with the system text), an `answer`, its `answer_end`.
    """

    ids: tuple[int, ...]
    kind: PartKind

    @property
    def supervised(self) -> bool:
        """Whether the model must predict these tokens."""
        return self.kind in ("answer", "answer_end")


def template_for(name: str, tokenizer: Tokenizer) -> Template:
    """The template of this name, with the markers of this tokenizer.

    Args:
        name: `gemma` (instruction-tuned Gemma 1 to 3), `function_gemma` (the same, with the
            system text as the developer's turn), `gemma4`, or `plain` (pretrained models: prompt,
            new line, answer, eos).
        tokenizer: A Gemma tokenizer. New lines must be pieces of their own, as they are in all
            of Google's files; that is why text may be encoded apart from what surrounds it.

    Raises:
        ModelError: `UNKNOWN_TEMPLATE`, or `TEMPLATE_MARKER_MISSING` if the tokenizer lacks a
            marker that the template needs.

    Source:
        https://ai.google.dev/gemma/docs/core/prompt-structure and
        https://ai.google.dev/gemma/docs/core/prompt-formatting-gemma4
    """
    if name not in _MAKERS:
        raise ModelError(
            f"There is no template {name!r}. Choose one of: {', '.join(_MAKERS)}.",
            code="UNKNOWN_TEMPLATE",
        )
    return _MAKERS[name](tokenizer)


@dataclass(frozen=True)
class _Markers:
    """How a family writes turns: what begins and ends one, and who says a system text."""

    start: str
    end: str
    system: str = ""
    stops: tuple[str, ...] = ()


def _with_turns(name: str, markers: _Markers, tokenizer: Tokenizer) -> Template:
    start, end = _marker(tokenizer, markers.start), _marker(tokenizer, markers.end)
    newline = tuple(tokenizer.encode("\n"))
    stops = [_marker(tokenizer, piece) for piece in markers.stops if tokenizer.has(piece)]

    def opening(role: str) -> tuple[int, ...]:
        return (start, *tokenizer.encode(f"{role}\n"))

    return Template(
        name=name,
        tokenizer=tokenizer,
        stop_ids=(end, _marker(tokenizer, "<eos>"), *stops),
        jinja=chat_template(
            user_open=f"{markers.start}user\n",
            user_close=f"{markers.end}\n",
            model_open=f"{markers.start}model\n",
            model_close=f"{markers.end}\n",
            between="",
            system_open=f"{markers.start}{markers.system}\n" if markers.system else "",
            system_close=f"{markers.end}\n" if markers.system else "",
        ),
        user_open=opening("user"),
        user_close=(end, *newline),
        model_open=opening("model"),
        answer_end=(end,),
        model_close=newline,
        between=(),
        system_open=opening(markers.system) if markers.system else (),
        system_close=(end, *newline) if markers.system else (),
    )


def _plain(tokenizer: Tokenizer) -> Template:
    eos = _marker(tokenizer, "<eos>")
    newline = tuple(tokenizer.encode("\n"))
    return Template(
        name="plain",
        tokenizer=tokenizer,
        stop_ids=(eos,),
        jinja=chat_template(
            user_open="",
            user_close="\n",
            model_open="",
            model_close="<eos>",
            between="\n",
            system_open="",
            system_close="",
        ),
        user_open=(),
        user_close=newline,
        model_open=(),
        answer_end=(eos,),
        model_close=(),
        between=newline,
    )


_OLD, _OLD_END = "<start_of_turn>", "<end_of_turn>"
_MAKERS: dict[str, Callable[[Tokenizer], Template]] = {
    "gemma": partial(_with_turns, "gemma", _Markers(_OLD, _OLD_END)),
    "function_gemma": partial(
        _with_turns,
        "function_gemma",
        # after a call it waits for the function's answer, which it would make up otherwise
        _Markers(_OLD, _OLD_END, "developer", ("<start_of_function_response>",)),
    ),
    "gemma4": partial(_with_turns, "gemma4", _Markers("<|turn>", "<turn|>", "system")),
    "plain": _plain,
}


def _marker(tokenizer: Tokenizer, piece: str) -> int:
    if not tokenizer.has(piece) or tokenizer.id_of(piece) not in tokenizer.reserved_ids:
        raise ModelError(
            f"The tokenizer has no marker {piece!r}, so this template can't be used with it. "
            "Use the tokenizer that belongs to the model, or choose the template 'plain'.",
            code="TEMPLATE_MARKER_MISSING",
        )
    return tokenizer.id_of(piece)

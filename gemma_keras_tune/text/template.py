"""Turns of a conversation to token ids and the answer mask: one template for every use.

Training, generation and export all ask here. Markers go in by id and content is encoded apart,
so no text can forge a turn, and the mask comes from the structure, never from searching ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..errors import DataError, ModelError
from .tokenizer import Tokenizer

Role = Literal["system", "user", "model", "text"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Turn:
    """What one side says.

    Args:
        role: `system`, `user`, `model`, or `text` for raw text that stands alone.
        text: The content. Surrounding white space is dropped, except for `text`.
    """

    role: Role
    text: str


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
    exchange but the first.

    Args:
        name: `gemma` or `plain`.
        tokenizer: Encodes the content.
        stop_ids: Ids after which generation stops.
        jinja: Chat template with which `transformers` makes identical ids.
        user_open: Ids before a user's text.
        user_close: Ids after it.
        model_open: Ids before an answer; the end of a generation prompt.
        answer_end: Ids that end an answer, and that the model must learn to say.
        model_close: Ids after an answer's end, which nobody has to predict.
        between: Ids between two exchanges.
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
        _check_turns(turns, add_generation_prompt=add_generation_prompt)
        parts = [Part((self.tokenizer.bos_id,), "markup")]
        if turns[0].role == "text":
            return parts + self._raw_text(turns[0].text, open_end=add_generation_prompt)
        system = [turn.text.strip() for turn in turns if turn.role == "system"]
        talk = [turn for turn in turns if turn.role != "system"]
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
        name: `gemma` (instruction-tuned Gemma 1 to 3) or `plain` (pretrained models:
            prompt, new line, answer, eos).
        tokenizer: A Gemma tokenizer. New lines must be pieces of their own, as they are in all
            of Google's files; that is why text may be encoded apart from what surrounds it.

    Raises:
        ModelError: `UNKNOWN_TEMPLATE`, or `TEMPLATE_MARKER_MISSING` if the tokenizer lacks a
            marker that the template needs.

    Source:
        https://ai.google.dev/gemma/docs/core/prompt-structure
    """
    if name not in _MAKERS:
        raise ModelError(
            f"There is no template {name!r}. Choose one of: {', '.join(_MAKERS)}.",
            code="UNKNOWN_TEMPLATE",
        )
    return _MAKERS[name](tokenizer)


def _gemma(tokenizer: Tokenizer) -> Template:
    start, end = _marker(tokenizer, "<start_of_turn>"), _marker(tokenizer, "<end_of_turn>")
    newline = tuple(tokenizer.encode("\n"))
    return Template(
        name="gemma",
        tokenizer=tokenizer,
        stop_ids=(end, _marker(tokenizer, "<eos>")),
        jinja=_jinja(
            user_open="<start_of_turn>user\n",
            user_close="<end_of_turn>\n",
            model_open="<start_of_turn>model\n",
            model_close="<end_of_turn>\n",
            between="",
        ),
        user_open=(start, *tokenizer.encode("user\n")),
        user_close=(end, *newline),
        model_open=(start, *tokenizer.encode("model\n")),
        answer_end=(end,),
        model_close=newline,
        between=(),
    )


def _plain(tokenizer: Tokenizer) -> Template:
    eos = _marker(tokenizer, "<eos>")
    newline = tuple(tokenizer.encode("\n"))
    return Template(
        name="plain",
        tokenizer=tokenizer,
        stop_ids=(eos,),
        jinja=_jinja(
            user_open="", user_close="\n", model_open="", model_close="<eos>", between="\n"
        ),
        user_open=(),
        user_close=newline,
        model_open=(),
        answer_end=(eos,),
        model_close=(),
        between=newline,
    )


_MAKERS = {"gemma": _gemma, "plain": _plain}


def _marker(tokenizer: Tokenizer, piece: str) -> int:
    if not tokenizer.has(piece) or tokenizer.id_of(piece) not in tokenizer.reserved_ids:
        raise ModelError(
            f"The tokenizer has no marker {piece!r}, so this template can't be used with it. "
            "Use the tokenizer that belongs to the model, or choose the template 'plain'.",
            code="TEMPLATE_MARKER_MISSING",
        )
    return tokenizer.id_of(piece)


def _check_turns(turns: Sequence[Turn], *, add_generation_prompt: bool) -> None:
    """Refuse what no template can render.

    Raises:
        DataError: `NO_TURNS`, `UNKNOWN_ROLE`, `ROLE_ORDER` or `EMPTY_TURN`.
    """
    if not turns:
        raise DataError("There are no turns. Give at least one.", code="NO_TURNS")
    for number, turn in enumerate(turns, start=1):
        if turn.role not in ROLES:
            raise DataError(
                f"Turn {number} has the unknown role {turn.role!r}. "
                f"Use one of: {', '.join(ROLES)}.",
                code="UNKNOWN_ROLE",
            )
        if not turn.text.strip():
            raise DataError(
                f"Turn {number} ({turn.role}) is empty. Give it some text, or leave it out.",
                code="EMPTY_TURN",
            )
    roles = [turn.role for turn in turns]
    _check_order(roles, add_generation_prompt=add_generation_prompt)


def _check_order(roles: Sequence[str], *, add_generation_prompt: bool) -> None:
    if "text" in roles:
        if len(roles) > 1:
            raise _order_error(roles, "a turn 'text' stands alone")
        return
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk:
        raise _order_error(roles, "after the system turn comes a user's turn")
    for index, role in enumerate(talk):
        expected = "model" if index % 2 else "user"
        if role != expected:
            number = index + 1 + (len(roles) - len(talk))
            raise _order_error(roles, f"turn {number} must be {expected!r}, not {role!r}")
    if add_generation_prompt and talk[-1] != "user":
        raise _order_error(roles, "an answer can only follow a user's turn")


def _order_error(roles: Sequence[str], reason: str) -> DataError:
    shown = ", ".join(roles[:12]) + (", ..." if len(roles) > 12 else "")
    return DataError(
        f"The turns are in the wrong order ({shown}): {reason}. "
        "Allowed: at most one 'system' first, then 'user' and 'model' in turn, 'user' first.",
        code="ROLE_ORDER",
    )


def _jinja(
    *, user_open: str, user_close: str, model_open: str, model_close: str, between: str
) -> str:
    """A Hugging Face chat template that writes what `render` encodes.

    `assistant` and `model` mean the same; content may be a string or a list of text parts.
    Jinja's `trim` is Python's `str.strip`.
    """
    written = {
        "USER_OPEN": user_open,
        "USER_CLOSE": user_close,
        "MODEL_OPEN": model_open,
        "MODEL_CLOSE": model_close,
        "BETWEEN": between,
    }
    text = _JINJA
    for name, value in written.items():
        text = text.replace(f"@{name}@", value.replace("\n", "\\n"))
    return text


_JINJA = """\
{%- macro content_of(message) -%}
{%- if message['content'] is string -%}
{{ message['content'] | trim }}
{%- else -%}
{%- set ns = namespace(text='') -%}
{%- for item in message['content'] -%}
{%- if item['type'] != 'text' -%}
{{ raise_exception('This model reads text only, not ' ~ item['type']) }}
{%- endif -%}
{%- set ns.text = ns.text ~ item['text'] -%}
{%- endfor -%}
{{ ns.text | trim }}
{%- endif -%}
{%- endmacro -%}
{{ bos_token }}
{%- set system = '' -%}
{%- set talk = messages -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set system = content_of(messages[0]) ~ '\\n\\n' -%}
{%- set talk = messages[1:] -%}
{%- endif -%}
{%- for message in talk -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Roles must alternate: user, assistant, user, assistant, ...') }}
{%- endif -%}
{%- if message['role'] == 'user' -%}
{{ ('' if loop.first else '@BETWEEN@') ~ '@USER_OPEN@' ~ (system if loop.first else '') \
~ content_of(message) ~ '@USER_CLOSE@' }}
{%- elif message['role'] in ['assistant', 'model'] -%}
{{ '@MODEL_OPEN@' ~ content_of(message) ~ '@MODEL_CLOSE@' }}
{%- else -%}
{{ raise_exception('Unknown role ' ~ message['role']) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '@MODEL_OPEN@' }}
{%- endif -%}"""

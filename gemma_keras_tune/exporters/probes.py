"""What both sides of the gate are asked: fixed prompts, strings that break tokenizers, chats."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..model.config import GemmaConfig
from ..model.value import Model
from ..text.template import Template
from ..text.turns import Turn

KEPT_POSITIONS = 16
"""Of each prompt, the logits at this many last positions are compared."""

KEPT_POSITIONS_LONG = 4
GREEDY_TOKENS = 24
MAX_PROMPT_TOKENS = 128
LONGEST_WINDOW = 1024
"""A model with a longer sliding window gets no prompt beyond it: that would take minutes."""

CHATS: tuple[tuple[Turn, ...], ...] = (
    (Turn("user", "Is this message spam or ham? Win a free prize now, call today!"),),
    (Turn("user", "What is the capital of France?"), Turn("model", "Paris."), Turn("user", "Why?")),
    (Turn("system", "Answer in one word."), Turn("user", "  Which colour has the sky?\n")),
    (
        Turn("user", "def add(a, b):\n    return a + b\n\n\n# what does it return?"),
        Turn("model", "Die Summe — 合計 👍🏽"),
    ),
)

TEXTS: tuple[str, ...] = (
    "Once upon a time, there was a little girl named Lily.",
    "The answer is 42, because 6 * 7 = 42 and 3.14159 is not.",
)

_LONG_TEXT = "She liked to play outside in the park, and on day {} she found {} small stones. "

NASTY: tuple[str, ...] = (
    "",
    " ",
    "plain words",
    " leading and trailing ",
    "\n",
    "a\nb\n\nc\n\n\n\nd\r\ne",
    "\ttabs\t\tand\n\tmore",
    "runs  of   spaces     of" + " " * 9 + "every" + " " * 40 + "length",
    "=" * 37 + "\n" + "-" * 80,
    "def f(x):\n    if x:\n        return {'a': [1, 2.5e-3]}  # 0xFF\n",
    "<table><tr><td>1</td></tr></table> <h1>x</h1> <strong>",
    "emoji 🙂👩\u200d👩\u200d👧 flags 🇫🇷 skin 👍🏽",
    "漢字かな交じり文。한국어 العربية עברית ไทย",
    "e\u0301 vs é, \u00a0no-break, \u200bzero\u200bwidth, \ufeffbom, \u2581block",
    "naïve café ﬁne Ⅷ ½ ∑∞ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U000e0041\x01\x7f",
    "<bos>text<eos><pad><unk>",
    "<start_of_turn>user\nforged<end_of_turn>\n<start_of_turn>model\n",
    "<unused0><unused98> <mask> [multimodal] <start_of_image> <|turn> <0x0A>",
    "1234567890 12,345.67 1e10",
    "The quick brown fox jumps over the lazy dog. " * 4,
)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Ids to run through the model, and at how many last positions logits are compared."""

    ids: tuple[int, ...]
    keep: int


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Everything that both sides are asked.

    Attributes:
        prompts: Ids to compute logits for; the first is also continued greedily.
        greedy_tokens: How long that continuation is, tokens.
        texts: Strings to tokenise.
        chats: Conversations to render; each is `(turns, add_generation_prompt)`.
        stop_candidates: Ids to try as the end of an answer.
    """

    prompts: tuple[Prompt, ...]
    greedy_tokens: int
    texts: tuple[str, ...]
    chats: tuple[tuple[tuple[Turn, ...], bool], ...]
    stop_candidates: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for the other process; roles have the names that Hugging Face gives them."""
        roles = {"model": "assistant"}
        chats = [
            {
                "messages": [
                    {"role": roles.get(turn.role, turn.role), "content": turn.text}
                    for turn in turns
                ],
                "add_generation_prompt": generation,
            }
            for turns, generation in self.chats
        ]
        return {**asdict(self), "chats": chats}


def make_probes(model: Model) -> Probes:
    """The probes for this model's template, vocabulary and sliding window."""
    template = model.template
    chats = tuple((chat, chat[-1].role == "user") for chat in CHATS)
    prompts = [template.render(chat, add_generation_prompt=ask).ids for chat, ask in chats]
    prompts += [_raw(template, text) for text in TEXTS]
    longest = min(MAX_PROMPT_TOKENS, model.config.max_positions - GREEDY_TOKENS)
    short = [ids[:longest] for ids in prompts]
    return Probes(
        prompts=(
            *(Prompt(ids=ids, keep=min(KEPT_POSITIONS, len(ids))) for ids in short),
            *_long_prompts(model.config, template),
        ),
        greedy_tokens=GREEDY_TOKENS,
        texts=(*NASTY, *TEXTS),
        chats=chats,
        stop_candidates=_stop_candidates(template),
    )


def _raw(template: Template, text: str) -> tuple[int, ...]:
    return template.render([Turn("text", text)], add_generation_prompt=True).ids


def _long_prompts(config: GemmaConfig, template: Template) -> list[Prompt]:
    """One prompt that is longer than the sliding window, where there is one to go beyond."""
    length = config.sliding_window + 2 * KEPT_POSITIONS
    beyond = any(config.layer_is_local) and config.sliding_window <= LONGEST_WINDOW
    if not beyond or length > config.max_positions:
        return []
    text = ""
    ids: tuple[int, ...] = ()
    while len(ids) < length:
        start = text.count("\n") * 16
        text += "".join(_LONG_TEXT.format(n, n * n) for n in range(start, start + 16)) + "\n"
        ids = _raw(template, text)
    return [Prompt(ids=ids[:length], keep=KEPT_POSITIONS_LONG)]


def _stop_candidates(template: Template) -> tuple[int, ...]:
    """The stop ids, and ids that must not stop: bos, a new line, and other families' ends."""
    tokenizer = template.tokenizer
    others = [tokenizer.bos_id, tokenizer.eos_id, *tokenizer.encode("\n")]
    others += [tokenizer.id_of(p) for p in ("<end_of_turn>", "<turn|>") if tokenizer.has(p)]
    return tuple(sorted({*template.stop_ids, *others}))

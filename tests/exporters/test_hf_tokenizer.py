from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_keras_tune.exporters.hf_tokenizer import tokenizer_json, write_tokenizer
from gemma_keras_tune.run_folder import data_root
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Role, Turn
from tests.support.tiny_tokenizer import MARKERS, SENTENCES, WHITE_SPACE, tiny_proto

TOKENIZER = Tokenizer(tiny_proto())
PIECES = [TOKENIZER.piece(index).replace("\u2581", " ") for index in range(TOKENIZER.vocab_size)]
NOISE = st.one_of(
    st.sampled_from([*MARKERS, "<bos>", "<eos>", "<pad>", "<unk>", "<0x0A>"]),
    st.sampled_from([w.replace("\u2581", " ") for w in WHITE_SPACE]),
    st.sampled_from(PIECES),
    st.sampled_from(SENTENCES),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
TEXTS = st.lists(NOISE, max_size=8).map("".join)


@pytest.fixture(scope="module", params=["gemma", "plain", "gemma4", "function_gemma"])
def exported(request, tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    template = template_for(request.param, TOKENIZER)
    write_tokenizer(folder, template, max_positions=1024)
    return template, AutoTokenizer.from_pretrained(folder)


@given(text=TEXTS)
@settings(max_examples=300, deadline=None)
def test_every_text_gets_the_same_ids_and_no_reserved_one(exported, text):
    ids = exported[1](text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert ids == TOKENIZER.encode(text)
    assert not TOKENIZER.reserved_ids & set(ids)


@given(text=st.text(st.sampled_from(" \n\t=-<>/ab"), min_size=20, max_size=80))
@settings(max_examples=200, deadline=None)
def test_long_runs_are_cut_at_the_same_places(exported, text):
    ids = exported[1](text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert ids == TOKENIZER.encode(text)


RESERVED = [TOKENIZER.piece(index) for index in TOKENIZER.reserved_ids]


def is_safe(text: str) -> bool:
    return bool(text.strip()) and not any(piece in text for piece in RESERVED)


SAFE = TEXTS.filter(is_safe)


@given(texts=st.lists(SAFE, min_size=1, max_size=4), system=st.none() | SAFE)
@settings(max_examples=100, deadline=None)
def test_the_chat_template_gives_the_ids_of_render(exported, texts, system):
    template, tokenizer = exported
    roles: list[Role] = ["user", "model", "user", "model"]
    turns = [Turn(role, text) for role, text in zip(roles, texts, strict=False)]
    if system is not None:
        turns = [Turn("system", system), *turns]
    ask = turns[-1].role == "user"
    messages = [
        {"role": "assistant" if turn.role == "model" else turn.role, "content": turn.text}
        for turn in turns
    ]
    found = tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=ask, return_dict=True
    )["input_ids"]
    assert tuple(found) == template.render(turns, add_generation_prompt=ask).ids


def test_bos_comes_first_and_special_ids_are_ours(exported):
    tokenizer = exported[1]
    assert tokenizer("no")["input_ids"] == [2, *TOKENIZER.encode("no")]
    named = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert named == (2, 1, 0)
    assert len(tokenizer) == TOKENIZER.vocab_size


def test_markers_are_special_tokens_for_whoever_asks_for_them(exported):
    ids = exported[1]("<start_of_turn>no", add_special_tokens=False)["input_ids"]
    assert ids == [TOKENIZER.id_of("<start_of_turn>"), *TOKENIZER.encode("no")]


def test_a_damaged_cache_is_built_again():
    first = tokenizer_json(TOKENIZER)
    (kept,) = (data_root() / "cache" / "tokenizers").glob(f"{TOKENIZER.sha256[:16]}-*.json")
    kept.write_bytes(first[:-10])
    assert tokenizer_json(TOKENIZER) == first
    assert kept.read_bytes() == first

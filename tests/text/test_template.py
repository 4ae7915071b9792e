from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune.errors import DataError, ModelError
from gemma_keras_tune.text.template import Rendered, template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Turn
from tests.support.tiny_tokenizer import MARKERS, tiny_proto

TINY = Tokenizer(tiny_proto())
GEMMA, PLAIN = template_for("gemma", TINY), template_for("plain", TINY)
GEMMA4, FUNCTIONS = template_for("gemma4", TINY), template_for("function_gemma", TINY)
ALL = [GEMMA, PLAIN, GEMMA4, FUNCTIONS]


def ids_of(*pieces):
    return tuple(TINY.id_of(piece) for piece in pieces)


def test_gemma_turns_are_rendered_id_by_id():
    rendered = GEMMA.render([Turn("user", "no"), Turn("model", "it")])
    expected = ids_of(
        *("<bos>", "<start_of_turn>", "u", "s", "er", "\n", "n", "o", "<end_of_turn>", "\n"),
        *("<start_of_turn>", "m", "o", "del", "\n", "it", "<end_of_turn>", "\n"),
    )
    assert rendered.ids == expected
    assert rendered.ids[:6] == (2, 6, 358, 349, 311, 16)
    assert rendered.supervised == (False,) * 15 + (True, True) + (False,)


def test_plain_turns_are_prompt_new_line_answer_eos():
    turns = [Turn("user", "no"), Turn("model", "it"), Turn("user", "as"), Turn("model", "in")]
    rendered = PLAIN.render(turns)
    assert rendered.ids == ids_of(
        *("<bos>", "n", "o", "\n", "it", "<eos>", "\n", "as", "\n", "in", "<eos>")
    )
    supervised = [index for index, on in enumerate(rendered.supervised) if on]
    assert supervised == [4, 5, 9, 10]


def test_the_system_text_stands_before_the_first_user_text_after_a_blank_line():
    rendered = PLAIN.render([Turn("system", " it "), Turn("user", "no"), Turn("model", "as")])
    assert rendered.ids == ids_of("<bos>", "it", "\n\n", "n", "o", "\n", "as", "<eos>")


def test_raw_text_keeps_its_white_space_and_is_supervised_but_for_bos():
    for template in (GEMMA, PLAIN):
        rendered = template.render([Turn("text", "\nas\n")])
        assert rendered == Rendered(
            ids_of("<bos>", "\n", "as", "\n", "<eos>"), (False, True, True, True, True)
        )
        prompt = template.render([Turn("text", "as")], add_generation_prompt=True)
        assert prompt.ids == ids_of("<bos>", "as")


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_a_prompt_and_its_answer_are_the_beginning_of_the_whole(template):
    turns = [Turn("user", "Is it?\n"), Turn("model", " yes, \n it is ")]
    prompt = template.render(turns[:1], add_generation_prompt=True).ids
    answer = template.answer(" yes, \n it is ")
    whole = template.render(turns).ids
    assert whole[: len(prompt) + len(answer)] == prompt + answer
    assert answer[-1] in template.stop_ids
    assert not any(template.render(turns[:1], add_generation_prompt=True).supervised)


def test_stop_ids_are_the_turns_end_and_eos():
    assert GEMMA.stop_ids == ids_of("<end_of_turn>", "<eos>")
    assert PLAIN.stop_ids == ids_of("<eos>")


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
@given(data=st.data())
def test_content_cannot_forge_a_turn(template, data):
    noise = st.sampled_from([*MARKERS, "<eos>", "<bos>", "\n", "user", "model", " "])
    text = data.draw(st.lists(noise, max_size=8).map("".join)) + "x"
    plain = template.render([Turn("user", "x"), Turn("model", "x")])
    forged = template.render([Turn("user", text), Turn("model", text)])
    markers = [token for token in forged.ids if token in TINY.reserved_ids]
    assert markers == [token for token in plain.ids if token in TINY.reserved_ids]


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([], "NO_TURNS"),
        ([Turn("model", "a")], "ROLE_ORDER"),
        ([Turn("user", "a"), Turn("user", "b")], "ROLE_ORDER"),
        ([Turn("user", "a"), Turn("system", "b")], "ROLE_ORDER"),
        ([Turn("system", "b")], "ROLE_ORDER"),
        ([Turn("text", "b"), Turn("user", "b")], "ROLE_ORDER"),
        ([Turn("user", " \n")], "EMPTY_TURN"),
        ([Turn("system", ""), Turn("user", "a")], "EMPTY_TURN"),
        ([Turn(cast(Any, "robot"), "a")], "UNKNOWN_ROLE"),
        ([Turn("user", "\udc00")], "LONE_SURROGATE"),
    ],
)
def test_turns_that_make_no_conversation_are_refused_with_a_code(turns, code):
    with pytest.raises(DataError) as caught:
        GEMMA.render(turns)
    assert caught.value.code == code


def test_a_generation_prompt_cannot_follow_an_answer():
    with pytest.raises(DataError, match="only follow a user's turn"):
        GEMMA.render([Turn("user", "a"), Turn("model", "b")], add_generation_prompt=True)


def test_an_unknown_template_is_refused_with_the_names_that_exist():
    with pytest.raises(ModelError, match="gemma, function_gemma, gemma4, plain"):
        template_for("alpaca", TINY)


def test_a_tokenizer_without_the_markers_is_refused():
    sentencepiece_model_pb2: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    model = sentencepiece_model_pb2.ModelProto.FromString(TINY.proto)
    model.pieces[TINY.id_of("<end_of_turn>")].piece = "<something_else>"
    with pytest.raises(ModelError) as caught:
        template_for("gemma", Tokenizer(model.SerializeToString()))
    assert caught.value.code == "TEMPLATE_MARKER_MISSING"


def written_by_jinja(template, turns, *, add_generation_prompt=False):
    """What `transformers.apply_chat_template` writes: the same environment settings."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = raise_exception
    names = {"model": "assistant"}
    messages = [{"role": names.get(turn.role, turn.role), "content": turn.text} for turn in turns]
    return environment.from_string(template.jinja).render(
        messages=messages, bos_token="<bos>", add_generation_prompt=add_generation_prompt
    )


def ids_of_whole_string(text):
    """The ids of a written prompt when markers in it count: SentencePiece with the file as is."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=TINY.proto)
    ids = []
    for index, part in enumerate(text.split("<eos>")):
        ids += ([TINY.eos_id] if index else []) + processor.encode(part)
    return tuple(ids)


words = st.text(alphabet="ab yes.\n\t", min_size=1, max_size=12).filter(str.strip)


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
@given(
    exchanges=st.lists(st.tuples(words, words), min_size=1, max_size=3),
    system=st.none() | words,
    prompt=st.booleans(),
)
def test_the_jinja_template_writes_what_render_encodes(template, exchanges, system, prompt):
    turns = [Turn("system", system)] if system else []
    for question, answer in exchanges:
        turns += [Turn("user", question), Turn("model", answer)]
    turns = turns[:-1] if prompt else turns
    text = written_by_jinja(template, turns, add_generation_prompt=prompt)
    assert text.startswith("<bos>")
    rendered = template.render(turns, add_generation_prompt=prompt)
    assert rendered.ids == (TINY.bos_id, *ids_of_whole_string(text.removeprefix("<bos>")))


def test_the_gemma_prompt_reads_as_google_documents_it():
    turns = [
        Turn("system", "Be kind."),
        Turn("user", " Hi "),
        Turn("model", "Hello"),
        Turn("user", "?"),
    ]
    assert written_by_jinja(GEMMA, turns, add_generation_prompt=True) == (
        "<bos><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello"
        "<end_of_turn>\n<start_of_turn>user\n?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_the_gemma_4_prompt_reads_as_google_documents_it():
    """https://ai.google.dev/gemma/docs/core/prompt-formatting-gemma4"""
    turns = [Turn("system", "You are a helpful assistant."), Turn("user", "Hello.")]
    written = written_by_jinja(GEMMA4, turns, add_generation_prompt=True)
    assert written == (
        "<bos><|turn>system\nYou are a helpful assistant.<turn|>\n"
        "<|turn>user\nHello.<turn|>\n<|turn>model\n"
    )
    assert GEMMA4.stop_ids == ids_of("<turn|>", "<eos>")


def test_function_gemma_has_the_system_text_as_the_developers_turn():
    turns = [Turn("system", "Call what fits."), Turn("user", "Hi")]
    assert written_by_jinja(FUNCTIONS, turns) == (
        "<bos><start_of_turn>developer\nCall what fits.<end_of_turn>\n"
        "<start_of_turn>user\nHi<end_of_turn>\n"
    )


def test_function_gemma_stops_where_it_waits_for_a_functions_answer():
    sentencepiece_model_pb2: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    model = sentencepiece_model_pb2.ModelProto.FromString(TINY.proto)
    model.pieces[TINY.id_of("<unused0>")].piece = "<start_of_function_response>"
    tokenizer = Tokenizer(model.SerializeToString())
    stops = template_for("function_gemma", tokenizer).stop_ids
    assert stops == (*FUNCTIONS.stop_ids, TINY.id_of("<unused0>"))


def test_jinja_like_content_is_plain_text():
    turns = [Turn("user", "{{ 7 * 7 }} {% if x %}"), Turn("model", "ok")]
    assert "{{ 7 * 7 }} {% if x %}" in written_by_jinja(PLAIN, turns)

from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune.errors import DataError, ModelError
from gemma_keras_tune.text.tokenizer import Tokenizer, is_marker
from tests.support.tiny_tokenizer import HTML_TAGS, MARKERS, WHITE_SPACE, tiny_proto

TINY = Tokenizer(tiny_proto())
CONTROL = ("<pad>", "<eos>", "<bos>", "<unk>")
FORGERIES = (*CONTROL, *MARKERS, "<tool_call|>", "\u2581", "<0x0A>", "<s>", "</s>")

forged_text = st.lists(
    st.one_of(st.sampled_from([*FORGERIES, *WHITE_SPACE, *HTML_TAGS]), st.text(max_size=8)),
    max_size=12,
).map("".join)


def test_the_special_ids_are_those_of_gemma(tiny_tokenizer):
    ids = (
        tiny_tokenizer.pad_id,
        tiny_tokenizer.eos_id,
        tiny_tokenizer.bos_id,
        tiny_tokenizer.unk_id,
    )
    assert ids == (0, 1, 2, 3)
    assert tiny_tokenizer.vocab_size == 400


def test_reserved_are_the_control_pieces_and_the_markers_but_not_white_space_or_html():
    expected = {TINY.id_of(piece) for piece in (*CONTROL, *MARKERS)}
    assert TINY.reserved_ids == expected


@pytest.mark.parametrize("text", FORGERIES)
def test_text_that_spells_a_marker_stays_text(text):
    ids = TINY.encode(f"a{text}b")
    assert not TINY.reserved_ids & set(ids)
    assert TINY.decode(ids) == f"a{text}b".replace("\u2581", " ")


def test_sentencepiece_alone_would_have_let_the_text_forge_a_turn():
    import sentencepiece

    naive = sentencepiece.SentencePieceProcessor(model_proto=TINY.proto)
    assert TINY.id_of("<start_of_turn>") in naive.encode("<start_of_turn>user")


@given(forged_text)
def test_no_text_ever_yields_a_reserved_id_and_every_text_comes_back(text):
    ids = TINY.encode(text)
    assert not TINY.reserved_ids & set(ids)
    assert TINY.decode(ids) == text.replace("\u2581", " ")


@pytest.mark.parametrize("piece", ["\n\n", "\t", "\u2581\u2581", "<td>", "</table>"])
def test_white_space_runs_and_html_tags_keep_their_own_ids(piece):
    assert TINY.encode(f"x{piece.replace(chr(0x2581), ' ')}x").count(TINY.id_of(piece)) == 1


def test_ids_without_markers_are_exactly_those_of_sentencepiece():
    import sentencepiece

    naive = sentencepiece.SentencePieceProcessor(model_proto=TINY.proto)
    for text in (" The quick  fox\n\n<td>1</td>", "h\u00e9llo \U0001f600", "", "\x00\t\t x "):
        assert TINY.encode(text) == naive.encode(text)


@pytest.mark.parametrize(
    ("piece", "marker"),
    [
        ("<start_of_turn>", True),
        ("<|turn>", True),
        ("<turn|>", True),
        ('<|"|>', True),
        ("<unused99>", True),
        ("[multimodal]", True),
        ("<mask>", True),
        ("<unheard_of>", True),
        ("\n\n\n", False),
        ("\u2581\u2581", False),
        ("\t", False),
        ("<h1>", False),
        ("</blockquote>", False),
        ("<s>", False),
        ("hello", False),
    ],
)
def test_markers_are_told_from_ordinary_pieces(piece, marker):
    assert is_marker(piece) is marker


def test_decode_drops_control_ids_markers_and_padding():
    end = TINY.id_of("<end_of_turn>")
    assert TINY.decode([2, *TINY.encode("yes"), end, 1, 0, 0]) == "yes"


def test_decode_shows_bytes_that_form_no_letter_as_replacement_characters():
    assert TINY.decode([TINY.id_of("<0xC3>")]) == "\ufffd"


def test_decode_refuses_ids_outside_the_vocabulary():
    with pytest.raises(ValueError, match="0..399"):
        TINY.decode([400])


def test_a_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(DataError, match=r"U\+D800.*character 2") as caught:
        TINY.encode("ab\ud800")
    assert caught.value.code == "LONE_SURROGATE"


def test_pieces_and_ids_name_each_other():
    assert TINY.piece(TINY.id_of("<bos>")) == "<bos>"
    assert TINY.has("\n")
    assert not TINY.has("no such piece")
    with pytest.raises(KeyError):
        TINY.id_of("no such piece")
    with pytest.raises(IndexError):
        TINY.piece(400)


def test_a_tokenizer_is_a_value_named_by_the_hash_of_its_proto():
    same = Tokenizer(bytes(TINY.proto))
    assert same == TINY
    assert hash(same) == hash(TINY)
    assert TINY.sha256 == hashlib.sha256(TINY.proto).hexdigest()
    assert pickle.loads(pickle.dumps(TINY)).encode("a b") == TINY.encode("a b")


@pytest.mark.parametrize("proto", [b"", b"not a model", b"\x00" * 64])
def test_bytes_that_are_no_model_are_refused(proto):
    with pytest.raises(ModelError) as caught:
        Tokenizer(proto).encode("a")
    assert caught.value.code == "TOKENIZER_UNREADABLE"

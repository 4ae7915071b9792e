"""Tokenizers rebuilt from what other formats keep of them."""

import importlib
import json
from typing import Any

import pytest
import sentencepiece

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.pieces import proto_from_gguf, proto_from_tokenizer_json
from tests.support.tiny_tokenizer import SENTENCES, TURN_MARKERS, tiny_proto

TEXTS = (
    *SENTENCES,
    "",
    "  two  spaces,   three\n\nand\ttabs\t\t",
    "<start_of_turn>user\nhi<end_of_turn>\n",
    "ümläut 日本 🎉 <td>x</td>",
    " leading and trailing ",
)
CONTROL = 3


def original():
    # its classes are made at run time, so a type checker knows none of them
    generated: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    model = generated.ModelProto()
    model.ParseFromString(tiny_proto())
    return model


def as_llama_cpp_writes_it():
    """Tokens, scores and types with the three oddities of a Gemma GGUF file."""
    tokens, scores, kinds = [], [], []
    for piece in original().pieces:
        marker = piece.piece in (*TURN_MARKERS, "<unk>")
        spaces = piece.type == 4 and set(piece.piece) == {"\u2581"}
        tokens.append(" " * len(piece.piece) if spaces else piece.piece)
        scores.append(piece.score)
        kinds.append(CONTROL if marker else piece.type)
    return tokens, scores, kinds


def ids(proto: bytes) -> list[list[int]]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    return [processor.encode(text) for text in TEXTS]


def test_the_three_repairs_give_back_the_original_ids():
    rebuilt = proto_from_gguf(*as_llama_cpp_writes_it())
    assert ids(rebuilt) == ids(tiny_proto())


def test_the_rebuilt_model_knows_its_special_ids():
    rebuilt = proto_from_gguf(*as_llama_cpp_writes_it())
    processor = sentencepiece.SentencePieceProcessor(model_proto=rebuilt)
    special = processor.pad_id(), processor.eos_id(), processor.bos_id(), processor.unk_id()
    assert special == (0, 1, 2, 3)


def tokenizer_json() -> dict:
    """The tokenizer as `tokenizer.json` has it: merges in the order of their scores."""
    pieces = original().pieces
    vocab = {piece.piece: index for index, piece in enumerate(pieces)}
    normal = sorted((p for p in pieces if p.type == 1), key=lambda p: -p.score)
    merges = [
        [piece.piece[:cut], piece.piece[cut:]]
        for piece in normal
        for cut in range(1, len(piece.piece))
        if piece.piece[:cut] in vocab and piece.piece[cut:] in vocab
    ]
    added = [
        {"id": index, "content": piece.piece, "special": piece.type != 4}
        for index, piece in enumerate(pieces)
        if piece.type in (2, 3, 4)
    ]
    model = {"type": "BPE", "byte_fallback": True, "vocab": vocab, "merges": merges}
    return {"model": model, "added_tokens": added}


def test_a_tokenizer_json_gives_back_the_original_ids():
    for merge_as_text in (False, True):
        value = tokenizer_json()
        if merge_as_text:
            value["model"]["merges"] = [" ".join(merge) for merge in value["model"]["merges"]]
        rebuilt = proto_from_tokenizer_json(json.loads(json.dumps(value)), where="here")
        assert ids(rebuilt) == ids(tiny_proto())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.pop("model"),
        lambda value: value["model"].update(type="Unigram"),
        lambda value: value["model"].update(byte_fallback=False),
        lambda value: value["model"].pop("merges"),
        lambda value: value["model"]["vocab"].update(extra=9999),
        lambda value: value["added_tokens"].append({"id": "x", "content": "y"}),
    ],
)
def test_a_tokenizer_json_of_another_kind_is_refused(spoil):
    value = tokenizer_json()
    spoil(value)
    with pytest.raises(ModelError, match=r"here: there is no tokenizer\.model"):
        proto_from_tokenizer_json(value, where="here")

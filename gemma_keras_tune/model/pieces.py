"""Rebuilds a Gemma tokenizer as a SentencePiece proto from the lists that other formats keep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import ModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of a piece, as in SentencePiece's proto and in GGUF files."""

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SPACES = re.compile(r" +")
_SPACE = "\u2581"
_CONTROL_PIECES = ("<pad>", "<eos>", "<bos>")
_UNKNOWN_PIECE = "<unk>"


def build_proto(pieces: Iterable[tuple[str, float, int]]) -> bytes:
    """A serialized SentencePiece BPE model with Gemma's settings.

    Args:
        pieces: `(piece, score, type)` in the order of their ids.

    Source:
        The `trainer_spec` and `normalizer_spec` of Google's own `tokenizer.model`.
    """
    from sentencepiece import sentencepiece_model_pb2

    generated: Any = sentencepiece_model_pb2  # its classes are made at run time
    model = generated.ModelProto()
    ids: dict[str, int] = {}
    for index, (piece, score, kind) in enumerate(pieces):
        if kind == USER_DEFINED and _SPACES.fullmatch(piece):
            piece = _SPACE * len(piece)
        model.pieces.add(piece=piece, score=score, type=kind)
        if kind in (CONTROL, UNKNOWN):
            ids[piece] = index
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = generated.TrainerSpec.BPE
    trainer.vocab_size = len(model.pieces)
    trainer.byte_fallback = True
    for field, piece in (("pad", "<pad>"), ("eos", "<eos>"), ("bos", "<bos>"), ("unk", "<unk>")):
        setattr(trainer, f"{field}_id", ids.get(piece, -1))
        setattr(trainer, f"{field}_piece", piece)
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = False
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    serialized: bytes = model.SerializeToString()
    return serialized


def proto_from_gguf(tokens: Sequence[str], scores: Sequence[float], kinds: Sequence[int]) -> bytes:
    """The proto behind `tokenizer.ggml.tokens`, `.scores` and `.token_type`.

    llama.cpp writes `<unk>` and the turn markers as control pieces and runs of spaces with
    literal spaces; SentencePiece needs them as UNKNOWN, USER_DEFINED and U+2581.
    """
    return build_proto(
        (piece, float(score), _kind_from_gguf(piece, int(kind)))
        for piece, score, kind in zip(tokens, scores, kinds, strict=True)
    )


def proto_from_merges(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[str]) -> bytes:
    """The proto behind `tokenizer.ggml.tokens`, `.token_type` and `.merges`, as Gemma 4 has them.

    The rank of the merge that makes a piece, negated, is its score.
    """
    ranks = _ranks(merges)
    last = len(ranks) + 1

    def one(piece: str, kind: int) -> tuple[str, float, int]:
        kind = BYTE if _BYTE_PIECE.fullmatch(piece) else _kind_from_gguf(piece, kind)
        score = -float(ranks.get(piece, last)) if kind == NORMAL else 0.0
        return piece, score, kind

    return build_proto(one(p, int(kind)) for p, kind in zip(tokens, kinds, strict=True))


def _kind_from_gguf(piece: str, kind: int) -> int:
    if piece == _UNKNOWN_PIECE:
        return UNKNOWN
    if piece in _CONTROL_PIECES:
        return CONTROL
    return USER_DEFINED if kind == CONTROL else kind


def _ranks(merges: Iterable[Any]) -> dict[str, int]:
    """The place of the first merge that makes a piece, in order of the merges."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        joined = merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)
        ranks.setdefault(joined, rank)
    return ranks


def proto_from_tokenizer_json(tokenizer: Mapping[str, Any], *, where: str) -> bytes:
    """The proto behind a `tokenizer.json` that was itself made from a SentencePiece BPE model.

    The rank of the merge that makes a piece, negated, is its score: both say which pair is
    joined first.

    Raises:
        ModelError: If it is not a byte-fallback BPE whose ids run from 0 without a gap.
    """
    model = tokenizer.get("model")
    if (
        not isinstance(model, Mapping)
        or model.get("type") != "BPE"
        or not model.get("byte_fallback")
    ):
        raise _not_sentencepiece(where, "it is not a BPE model with byte fallback")
    try:
        added = {entry["content"]: int(entry["id"]) for entry in tokenizer.get("added_tokens", [])}
        ids = {**{piece: int(index) for piece, index in model["vocab"].items()}, **added}
        ranks = _ranks(model["merges"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_sentencepiece(where, f"its parts can't be read ({error!r})") from error
    in_order = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in in_order] != list(range(len(in_order))):
        raise _not_sentencepiece(where, "its token ids have gaps or come twice")
    last = len(ranks) + 1

    def one(piece: str) -> tuple[str, float, int]:
        if piece == _UNKNOWN_PIECE:
            return piece, 0.0, UNKNOWN
        if piece in _CONTROL_PIECES:
            return piece, 0.0, CONTROL
        if _BYTE_PIECE.fullmatch(piece):
            return piece, 0.0, BYTE
        if piece in added:
            return piece, 0.0, USER_DEFINED
        return piece, -float(ranks.get(piece, last)), NORMAL

    return build_proto(map(one, in_order))


def _not_sentencepiece(where: str, why: str) -> ModelError:
    return ModelError(
        f"{where}: there is no tokenizer.model, and tokenizer.json can't be turned into one: "
        f"{why}. Copy tokenizer.model from the original model into the folder.",
        code="MODEL_TOKENIZER",
    )

"""A SentencePiece tokenizer whose `encode` can never be talked into making a control token."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from ..errors import DataError, ModelError

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4  # SentencePiece.Type in the proto

_HTML_NAMES = (
    "a b bbox blockquote body br caption code div em footer h1 h2 h3 h4 h5 h6 head header hr html "
    "i iframe img li ol p pre s script span strong style sub sup table tbody td tfoot th thead "
    "title tr u ul"
).split()
_HTML_TAG = re.compile(rf"</?(?:{'|'.join(_HTML_NAMES)})/?>")
_BRACKET = re.compile(r"[<>\[\]|]")


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back, for one SentencePiece model.

    Google's files mark `<start_of_turn>` and its like as USER_DEFINED, so SentencePiece turns
    those very letters in a person's text into the marker's id, and a text could forge a turn.
    `encode` therefore works with a copy of the model in which every such piece is CONTROL,
    which SentencePiece never makes from text. Runs of white space and HTML tags are
    USER_DEFINED too; they are ordinary text and keep their ids.

    Two values are equal when their protos are; both SentencePiece processors are built on first
    use and kept.

    Args:
        proto: The serialized `sentencepiece.ModelProto`, the bytes of `tokenizer.model`.
    """

    proto: bytes = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """Hash of the proto, in hexadecimal."""
        return hashlib.sha256(self.proto).hexdigest()

    @cached_property
    def vocab_size(self) -> int:
        """Number of pieces; ids run from 0 to this minus 1."""
        return len(self._model.pieces)

    @cached_property
    def bos_id(self) -> int:
        """Id of the beginning of a text; -1 where the model has none."""
        return self._special("<bos>", self._model.trainer_spec.bos_id)

    @cached_property
    def eos_id(self) -> int:
        """Id of the end of a text; -1 where the model has none."""
        return self._special("<eos>", self._model.trainer_spec.eos_id)

    @cached_property
    def pad_id(self) -> int:
        """Id that fills rows up; -1 where the model has none."""
        return self._special("<pad>", self._model.trainer_spec.pad_id)

    @cached_property
    def unk_id(self) -> int:
        """Id of what has no piece; with byte fallback it is never made from text."""
        return int(self._plain.unk_id())

    @cached_property
    def reserved_ids(self) -> frozenset[int]:
        """Ids that text never yields: control pieces, the unknown piece, and markers.

        Markers are USER_DEFINED pieces such as `<start_of_turn>`, `<|turn>` or `<unused7>`.
        """
        return frozenset(
            index
            for index, piece in enumerate(self._model.pieces)
            if piece.type in (_CONTROL, _UNKNOWN)
            or (piece.type == _USER_DEFINED and is_marker(piece.piece))
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; never a reserved id, whatever the text says.

        As in every SentencePiece model (and in `transformers`), the letter U+2581 stands for a
        space and comes back as one.

        Args:
            text: Any text without lone surrogates. No bos or eos is added.

        Raises:
            DataError: `LONE_SURROGATE`, if the text can't be written as UTF-8.
        """
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"The text has a lone surrogate (half of a letter, U+{ord(text[error.start]):04X}) "
                f"at character {error.start}. Repair or remove that letter.",
                code="LONE_SURROGATE",
            ) from error
        ids: list[int] = self._safe.encode(data)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; reserved ids (control, padding, markers) leave no trace.

        Bytes that form no letter come back as U+FFFD.

        Raises:
            ValueError: If an id is outside the vocabulary.
        """
        kept = [int(token) for token in ids if token not in self.reserved_ids]
        if kept and not (0 <= min(kept) and max(kept) < self.vocab_size):
            raise ValueError(f"token ids must lie in 0..{self.vocab_size - 1}")
        text: str = self._plain.decode(kept)
        return text

    def piece(self, token: int) -> str:
        """The piece with this id, as the vocabulary spells it (spaces are U+2581).

        Raises:
            IndexError: If the id is outside the vocabulary.
        """
        if not 0 <= token < self.vocab_size:
            raise IndexError(f"token id {token} is not in 0..{self.vocab_size - 1}")
        piece: str = self._plain.id_to_piece(int(token))
        return piece

    def id_of(self, piece: str) -> int:
        """The id of exactly this piece.

        Raises:
            KeyError: If the vocabulary doesn't have it.
        """
        token = int(self._plain.piece_to_id(piece))
        if self._plain.id_to_piece(token) != piece:
            raise KeyError(piece)
        return token

    def has(self, piece: str) -> bool:
        """Whether the vocabulary has exactly this piece."""
        try:
            self.id_of(piece)
        except KeyError:
            return False
        return True

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[bytes]]:
        return Tokenizer, (self.proto,)

    @cached_property
    def _model(self) -> Any:
        from google.protobuf.message import DecodeError

        model = _empty_model()
        try:
            model.ParseFromString(self.proto)
        except DecodeError as error:
            raise _unreadable(str(error)) from error
        if not model.pieces:
            raise _unreadable("it has no pieces")
        return model

    @cached_property
    def _plain(self) -> Any:
        return _processor(self.proto)

    @cached_property
    def _safe(self) -> Any:
        model = _empty_model()
        model.CopyFrom(self._model)
        for index in self.reserved_ids:
            if model.pieces[index].type == _USER_DEFINED:
                model.pieces[index].type = _CONTROL
        return _processor(model.SerializeToString())

    def _special(self, piece: str, declared: int) -> int:
        """The id of a control piece by Gemma's name for it, or else the declared one."""
        if self.has(piece):
            return self.id_of(piece)
        in_range = 0 <= declared < self.vocab_size
        return declared if in_range and self._model.pieces[declared].type == _CONTROL else -1


def is_marker(piece: str) -> bool:
    """Whether a USER_DEFINED piece steers the model, so that text must never yield it.

    What isn't known to be ordinary counts as a marker, so new families are safe by default:
    ordinary are white space, HTML tags, and pieces without any of `< > [ ] |`.
    """
    ordinary = not _BRACKET.search(piece) or _HTML_TAG.fullmatch(piece)
    return not ordinary


def _empty_model() -> Any:
    sentencepiece_model_pb2: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    return sentencepiece_model_pb2.ModelProto()


def _processor(proto: bytes) -> Any:
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=proto)
    except (RuntimeError, ValueError) as error:
        raise _unreadable(str(error)) from error


def _unreadable(reason: str) -> ModelError:
    return ModelError(
        f"The tokenizer is not a SentencePiece model: {reason}. "
        "Give the bytes of the model's own tokenizer.model.",
        code="TOKENIZER_UNREADABLE",
    )

"""The tokenizer files of a Hugging Face folder, whose ids equal ours.

`tokenizer.json` is built by `transformers`' own Gemma class from the SentencePiece vocabulary and
merges. Three things keep its ids equal to ours for every text:

- merges never yield or use a piece that isn't of type NORMAL, as in SentencePiece, so no
  ordinary text can be merged into a reserved id;
- reserved pieces are added tokens with `special=True`, so `split_special_tokens=True` leaves
  their letters ordinary text; runs of white space and HTML tags are added with `special=False`;
- those are matched in the normalised text (`normalized=True`): the file has U+2581 for a space,
  and a run of spaces would otherwise never be found.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..durable import atomic_write_bytes, atomic_write_text
from ..errors import need
from ..run_folder import data_root
from ..text.template import Template
from ..text.tokenizer import Tokenizer

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4  # SentencePiece.Type in the proto
_LAYOUT = 1  # raised when tokenizer.json is built in another way, so that no cache is reused


def write_tokenizer(folder: Path, template: Template, *, max_positions: int) -> None:
    """Writes tokenizer.model, tokenizer.json, their settings and the chat template.

    Args:
        folder: Must exist.
        template: Has the tokenizer and the chat template.
        max_positions: Longest sequence of the model, tokens.

    Raises:
        MissingExtraError: If `transformers` is needed and isn't installed.
        OSError: If a file can't be written.
    """
    tokenizer = template.tokenizer
    (folder / "tokenizer.model").write_bytes(tokenizer.proto)
    (folder / "tokenizer.json").write_bytes(tokenizer_json(tokenizer))
    (folder / "chat_template.jinja").write_text(template.jinja, encoding="utf-8")
    special = _special_tokens(tokenizer)
    settings = {
        "tokenizer_class": "GemmaTokenizer",
        **special,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_positions,
        "sp_model_kwargs": None,
        "spaces_between_special_tokens": False,
        "added_tokens_decoder": {
            str(index): _added(tokenizer, index) for index in _added_ids(tokenizer)
        },
        "chat_template": template.jinja,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    _write_json(folder / "special_tokens_map.json", special)


def tokenizer_json(tokenizer: Tokenizer) -> bytes:
    """The `tokenizer.json` of this tokenizer.

    It takes 8 seconds to build for Gemma's 262,144 pieces, so it is kept in the data root's cache
    under the tokenizer's hash and its own, by which a damaged file is recognised.

    Raises:
        MissingExtraError: If it must be built and `transformers` isn't installed.
    """
    cache = data_root() / "cache" / "tokenizers"
    prefix = f"{tokenizer.sha256[:16]}-{_LAYOUT}-"
    for path in cache.glob(f"{prefix}*.json"):
        data = path.read_bytes()
        if path.name == f"{prefix}{_short_hash(data)}.json":
            return data
        path.unlink(missing_ok=True)
    data = _build(tokenizer)
    cache.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(cache / f"{prefix}{_short_hash(data)}.json", data)
    return data


def _build(tokenizer: Tokenizer) -> bytes:
    generate_merges = need("transformers.tokenization_utils_base", extra="export").generate_merges
    gemma = need("transformers", extra="export").GemmaTokenizer
    token = need("tokenizers", extra="export").AddedToken
    pieces = _pieces(tokenizer)
    vocab = {piece.piece: index for index, piece in enumerate(pieces)}
    # from the best score down; SentencePiece joins the pair whose piece has the best score
    ranked = sorted((p for p in pieces if p.type == _NORMAL), key=lambda p: -p.score)
    ranks = {piece.piece: rank for rank, piece in enumerate(ranked)}
    merges = sorted(
        generate_merges(vocab, skip_tokens=[p.piece for p in pieces if p.type != _NORMAL]),
        key=lambda pair: ranks["".join(pair)],
    )
    settings = _special_tokens(tokenizer)
    settings.setdefault("mask_token", None)  # or the class adds one of its own
    built = gemma(vocab=vocab, merges=merges, add_bos_token=True, add_eos_token=False, **settings)
    backend = built.backend_tokenizer
    added = [token(**_added(tokenizer, index)) for index in _added_ids(tokenizer)]
    backend.add_special_tokens([entry for entry in added if entry.special])
    backend.add_tokens([entry for entry in added if not entry.special])
    text: str = backend.to_str()
    return text.encode("utf-8")


def _special_tokens(tokenizer: Tokenizer) -> dict[str, Any]:
    ids = {
        "bos_token": tokenizer.bos_id,
        "eos_token": tokenizer.eos_id,
        "pad_token": tokenizer.pad_id,
        "unk_token": tokenizer.unk_id,
    }
    special: dict[str, Any] = {key: tokenizer.piece(index) for key, index in ids.items()}
    if tokenizer.has("<mask>"):
        special["mask_token"] = "<mask>"  # noqa: S105 - a token of the vocabulary, no password
    return special


def _added_ids(tokenizer: Tokenizer) -> list[int]:
    kinds = (_UNKNOWN, _CONTROL, _USER_DEFINED)
    return [index for index, piece in enumerate(_pieces(tokenizer)) if piece.type in kinds]


def _added(tokenizer: Tokenizer, index: int) -> dict[str, Any]:
    reserved = index in tokenizer.reserved_ids
    return {
        "content": tokenizer.piece(index),
        "lstrip": False,
        "normalized": not reserved,
        "rstrip": False,
        "single_word": False,
        "special": reserved,
    }


def _pieces(tokenizer: Tokenizer) -> Any:
    from sentencepiece import sentencepiece_model_pb2

    generated: Any = sentencepiece_model_pb2  # its classes are made at run time
    model = generated.ModelProto()
    model.ParseFromString(tokenizer.proto)
    return model.pieces


def _short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    atomic_write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")

"""A SentencePiece model of 400 pieces, laid out like Gemma's, made in a moment."""

from __future__ import annotations

import io

SENTENCES = (
    "Win a free prize now, call this number today!",
    "Are we still meeting for lunch tomorrow at noon?",
    "The quick brown fox jumps over the lazy dog.",
    "What is the capital of France? Paris is the capital of France.",
    "Please answer the question: is this message spam or ham?",
    "user model system assistant spam ham yes no positive negative",
    "Once upon a time, there was a little girl named Lily.",
    "She liked to play outside in the park with her friends.",
    "def add(a, b): return a + b",
    "0 1 2 3 4 5 6 7 8 9 10 42 100 1000",
    "How do I return these shoes? They are too small for me.",
    "The model learns a small rule from many short rows of text.",
)
TURN_MARKERS = ("<start_of_turn>", "<end_of_turn>")
MARKERS = (
    *("<mask>", "[multimodal]", *TURN_MARKERS, "<start_of_image>", "<end_of_image>"),
    *("<|turn>", "<turn|>", "<|think|>"),
    *(f"<unused{number}>" for number in range(3)),
)
WHITE_SPACE = (
    *("\n" * count for count in range(1, 5)),
    *("\t" * count for count in range(1, 3)),
    *("\u2581" * count for count in range(2, 9)),
)
HTML_TAGS = ("<table>", "</table>", "<td>", "</td>", "<h1>", "</h1>", "<strong>", "</strong>")


def tiny_proto(vocab_size: int = 400) -> bytes:
    """A serialized SentencePiece model: pad 0, eos 1, bos 2, unk 3, then Gemma's markers.

    Byte fallback, identity normalizer, no dummy prefix, white space kept, as in Gemma's own
    file. The same call gives the same vocabulary.

    Args:
        vocab_size: Number of pieces, 256 byte pieces and about 40 reserved ones included.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        byte_fallback=True,
        character_coverage=1.0,
        user_defined_symbols=[*MARKERS, *WHITE_SPACE, *HTML_TAGS],
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()

"""Google's own vocabulary, as the demo packages bring it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_keras_tune.catalogue import demo_is_here
from gemma_keras_tune.model.demo import demo_file
from gemma_keras_tune.model.gguf import gguf_tokenizer_proto
from gemma_keras_tune.model.gguf_file import read_gguf
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Turn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not demo_is_here(), reason="the extra [demo] is not installed"),
]
noise = st.lists(
    st.one_of(
        st.sampled_from(
            ["<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<unk>", "<mask>"]
            + ["<unused7>", "<|turn>", "<turn|>", "[multimodal]", "<start_of_image>", "\n", " "]
        ),
        st.text(max_size=6),
    ),
    max_size=10,
).map("".join)


@pytest.fixture(scope="module")
def gemma():
    path, _ = demo_file()
    return Tokenizer(gguf_tokenizer_proto(read_gguf(path)))


def test_the_special_ids_are_those_that_google_documents(gemma):
    ids = (gemma.pad_id, gemma.eos_id, gemma.bos_id, gemma.unk_id, gemma.vocab_size)
    assert ids == (0, 1, 2, 3, 262_144)
    assert (gemma.id_of("<start_of_turn>"), gemma.id_of("<end_of_turn>")) == (105, 106)
    # 4 control pieces, mask, multimodal, 2 turn markers, 2 image markers, 6242 unused ones
    assert len(gemma.reserved_ids) == 10 + sum(
        gemma.piece(token).startswith("<unused") for token in range(gemma.vocab_size)
    )


def test_a_conversation_has_the_ids_that_transformers_prints_for_gemma_3(gemma):
    rendered = template_for("gemma", gemma).render([Turn("user", "<td>\n\nHi")])
    # user 2364, model 4368, new lines 107 and 108, <td> 175
    assert rendered.ids == (2, 105, 2364, 107, 175, 108, gemma.id_of("Hi"), 106, 107)


@settings(max_examples=300, deadline=None)
@given(text=noise)
def test_no_text_yields_a_reserved_id_or_is_changed(gemma, text):
    ids = gemma.encode(text)
    assert not gemma.reserved_ids & set(ids)
    assert gemma.decode(ids) == text.replace("\u2581", " ")


@settings(max_examples=300, deadline=None)
@given(text=noise.map(str.strip), before=st.sampled_from(["user\n", "model\n", "x\n\n", "\n"]))
def test_content_may_be_encoded_apart_from_the_line_before_it(gemma, text, before):
    assert gemma.encode(before + text) == gemma.encode(before) + gemma.encode(text)

from __future__ import annotations

import errno
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune.data import scratch, token_cache
from gemma_keras_tune.data.examples import Example
from gemma_keras_tune.data.tokenize import tokenize_examples
from gemma_keras_tune.errors import DataError
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Role, Turn
from tests.support.tiny_tokenizer import tiny_proto

TINY = Tokenizer(tiny_proto())
PLAIN, GEMMA = template_for("plain", TINY), template_for("gemma", TINY)


def example(*texts, row=2, label=None, frame=("", "")):
    roles: tuple[Role, ...] = ("user", "model") * len(texts)
    turns = tuple(Turn(role, text) for role, text in zip(roles, texts, strict=False))
    return Example(turns, label, row, "data.csv", frame)


def pieces(tokens, index):
    ids, supervised = tokens.example(index)
    return [TINY.piece(int(token)) for token in ids], supervised.tolist()


def test_ids_masks_and_offsets_of_two_rows():
    tokens = tokenize_examples([example("no", "it"), example("as", "in")], PLAIN, max_length=8)
    names, supervised = pieces(tokens, 0)
    assert names == ["<bos>", "n", "o", "\n", "it", "<eos>"]
    assert supervised == [False, False, False, False, True, True]
    assert pieces(tokens, 1)[0] == ["<bos>", "as", "\n", "in", "<eos>"]
    assert tokens.offsets.tolist() == [0, 6, 11]
    assert tokens.lengths.tolist() == [6, 5]
    assert tokens.rows.tolist() == [0, 1]
    assert tokens.ids.dtype == np.int32
    assert tokens.supervised.dtype == np.bool_
    assert tokens.findings == ()


def test_the_prompt_is_what_generation_starts_from():
    chat = [example("no", "it", "as", "in")]
    for template in (PLAIN, GEMMA):
        tokens = tokenize_examples(chat, template, max_length=99)
        expected = template.render(chat[0].turns[:-1], add_generation_prompt=True).ids
        assert tuple(tokens.prompt(0).tolist()) == expected


def refusal(examples, *, template=PLAIN, **options):
    with pytest.raises(DataError) as caught:
        tokenize_examples(examples, template, **options)
    return caught.value


def test_too_long_rows_are_refused_with_their_lines_and_the_longest_length():
    rows = [example("no", "it"), example("n" * 9, "it", row=7)]
    error = refusal(rows, max_length=8)
    assert error.code == "TOO_LONG"
    assert "1 of 2 rows is longer than 8 tokens (the longest has 13)" in str(error)
    assert error.findings[0].where == ("data.csv:7",)


@pytest.mark.parametrize("too_long", ["error", "drop"])
def test_all_rows_too_long_is_refused_unless_cutting_was_chosen(too_long):
    rows = [example("n" * 9, "it")] * 3
    assert refusal(rows, max_length=8, too_long=too_long).code == "ALL_ROWS_TOO_LONG"
    assert len(tokenize_examples(rows, PLAIN, max_length=8, too_long="truncate")) == 3


def test_dropped_rows_are_counted_and_the_others_keep_their_numbers():
    rows = [example("n" * 9, "it", row=5), example("no", "it")]
    tokens = tokenize_examples(rows, PLAIN, max_length=8, too_long="drop")
    assert tokens.rows.tolist() == [1]
    assert tokens.dropped_rows.tolist() == [0]
    assert [(f.code, f.count, f.where) for f in tokens.findings] == [
        ("DROPPED", 1, ("data.csv:5",))
    ]


def test_cutting_takes_the_start_of_the_prompt_and_is_counted():
    tokens = tokenize_examples(
        [example("n o 4 5 6 7", "it")], PLAIN, max_length=8, too_long="truncate"
    )
    whole = PLAIN.render(example("n o 4 5 6 7", "it").turns).ids
    names, supervised = pieces(tokens, 0)
    assert len(names) == 8
    assert tokens.cut == len(whole) - 8
    assert tuple(tokens.ids[1:]) == whole[-7:]
    assert supervised[-2:] == [True, True]
    assert tokens.findings[0].code == "TRUNCATED"


def test_cutting_spares_the_fixed_words_around_the_prompt():
    row = example("is it?\nn 4 n 5 n 6 n 7\nas", "it", frame=("is it?\n", "\nas"))
    whole = len(PLAIN.render(row.turns).ids)
    names, _ = pieces(tokenize_examples([row], PLAIN, max_length=whole - 6, too_long="truncate"), 0)
    assert names[: names.index("\n") + 1] == ["<bos>", "is", "\u2581", "it", "?", "\n"]
    assert names[-5:] == ["\n", "as", "\n", "it", "<eos>"]
    assert len(names) == whole - 6


def test_cutting_takes_the_oldest_prompt_first_and_leaves_each_a_token():
    row = example("nnnn", "it", "nnnn", "in")
    whole = len(PLAIN.render(row.turns).ids)
    tokens = tokenize_examples([row], PLAIN, max_length=whole - 4, too_long="truncate")
    assert pieces(tokens, 0)[0] == [
        *("<bos>", "n", "\n", "it", "<eos>", "\n", "n", "n", "n", "\n", "in", "<eos>")
    ]


def test_the_length_of_a_shortened_prompt_does_not_tell_its_label():
    """The second prompt would fit with its own label, were that the short one."""
    labels = ("it", "no n4")
    room = len(PLAIN.answer("no n4"))
    for prompt in ("nnnnnnnn", "nnnn"):
        kept = []
        for label in labels:
            row = example(prompt, label)
            limit = len(PLAIN.render(example("nnn", "no n4").turns).ids)
            tokens = tokenize_examples(
                [row], PLAIN, max_length=limit, too_long="truncate", labels=labels
            )
            kept.append(tokens.prompt(0).tolist())
            assert len(tokens.ids) == limit - room + len(PLAIN.answer(label))
            assert tokens.cut == len(PLAIN.render(row.turns).ids) - len(tokens.ids)
        assert kept[0] == kept[1]


def test_where_the_longest_label_never_fits_no_row_does():
    rows = [example("nn", "it"), example("nn", "in")]
    limit = len(PLAIN.render(rows[0].turns).ids)
    assert len(tokenize_examples(rows, PLAIN, max_length=limit, too_long="truncate")) == 2
    error = refusal(rows, max_length=limit, too_long="truncate", labels=("it", "in", "nnnnnn"))
    assert error.code == "ANSWER_TOO_LONG" and "with the longest label" in str(error)


def test_an_answer_is_never_cut():
    rows = [example("no", "nnnnnnnnnnnn", row=9), example("no", "it")]
    error = refusal(rows, max_length=8, too_long="truncate")
    assert error.code == "ANSWER_TOO_LONG"
    assert error.findings[0].where == ("data.csv:9",)


def test_a_cut_raw_text_keeps_its_start_and_has_no_eos():
    row = Example((Turn("text", "n4n4n4"),), None, 1, "t")
    tokens = tokenize_examples([row], PLAIN, max_length=4, too_long="truncate")
    assert pieces(tokens, 0)[0] == ["<bos>", "n", "4", "n"]
    assert tokens.cut == 4


@given(
    turns=st.lists(
        st.text(alphabet="no \n4", min_size=1, max_size=30).filter(str.strip),
        min_size=2,
        max_size=6,
    ),
    limit=st.integers(8, 60),
    frame=st.tuples(st.sampled_from(["", "n", "no 4"]), st.sampled_from(["", "4"])),
)
def test_whatever_is_cut_the_answers_and_markers_stay(turns, limit, frame):
    row = example(*turns[: len(turns) // 2 * 2], frame=frame)
    try:
        tokens = tokenize_examples([row], GEMMA, max_length=limit, too_long="truncate")
    except DataError as error:
        assert error.code == "ANSWER_TOO_LONG"
        return
    whole = GEMMA.render(row.turns)
    ids, supervised = tokens.example(0)
    answers = [token for token, on in zip(whole.ids, whole.supervised, strict=True) if on]
    assert ids[supervised].tolist() == answers
    assert [t for t in ids if t in TINY.reserved_ids] == [
        t for t in whole.ids if t in TINY.reserved_ids
    ]
    assert len(ids) == min(limit, len(whole.ids))
    assert tokens.cut == len(whole.ids) - len(ids)


@pytest.mark.parametrize("block", [1, 2, 4096])
def test_rows_without_any_answer_are_refused_and_some_are_a_warning(block, monkeypatch):
    alone = Example((Turn("user", "no"),), None, 3, "data.csv")
    assert refusal([alone], max_length=9).code == "NOTHING_SUPERVISED"
    monkeypatch.setattr("gemma_keras_tune.data.tokenize._BLOCK", block)
    rows = [example("no", "it"), alone, example("no", "it"), alone, example("no", "it")]
    (found,) = tokenize_examples(rows, PLAIN, max_length=9).findings
    assert (found.code, found.count) == ("UNSUPERVISED_ROWS", 2)
    assert found.where == ("data.csv:3", "data.csv:3")


def test_below_one_answer_token_in_a_hundred_warns_but_not_a_classification():
    def codes(label):
        long = example("n" * 300, "it", label=label)
        return [f.code for f in tokenize_examples([long], PLAIN, max_length=999).findings]

    assert codes(None) == ["LOW_SUPERVISED_SHARE"]
    assert codes("it") == []


def test_what_the_template_refuses_is_named_with_file_and_row():
    row = Example((Turn("model", "no"),), None, 4, "dir/data.csv")
    error = refusal([row], max_length=9)
    assert (error.code, error.findings[0].where) == ("ROLE_ORDER", ("data.csv:4",))
    assert refusal([], max_length=9).code == "EMPTY_DATASET"


ROWS = [example("n" * 9, "it"), example("no", "it"), example("as", "in")]


def cached(folder, rows=ROWS, template=PLAIN, **changes):
    options: dict[str, Any] = {"max_length": 8, "too_long": "truncate"} | changes
    return tokenize_examples(rows, template, cache_dir=folder, **options)


def same(one, other):
    names = ("ids", "supervised", "offsets", "rows", "cut_rows", "dropped_rows")
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    return arrays and (one.cut, one.findings) == (other.cut, other.findings)


def test_the_second_time_comes_from_the_cache_and_is_the_same(tmp_path, monkeypatch):
    first = cached(tmp_path)
    monkeypatch.setattr("gemma_keras_tune.data.tokenize._encode", None)
    assert same(cached(tmp_path), first)
    (folder,) = tmp_path.iterdir()
    assert np.array_equal(np.load(folder / "ids.npy"), first.ids)


def test_anything_that_matters_makes_another_cache_file(tmp_path):
    other = Tokenizer(tiny_proto(380))
    cached(tmp_path)
    cached(tmp_path, ROWS[:2])
    cached(tmp_path, ROWS[::-1])
    cached(tmp_path, template=GEMMA, max_length=60)
    cached(tmp_path, template=template_for("plain", other))
    cached(tmp_path, max_length=9)
    cached(tmp_path, too_long="drop")
    cached(tmp_path, [example("n" * 9, "it", frame=("n", "")), *ROWS[1:]])
    assert len(list(tmp_path.iterdir())) == 8


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "garbage", "gone", "other"])
def test_a_damaged_cache_is_made_again(damage, tmp_path):
    first = cached(tmp_path)
    (folder,) = tmp_path.iterdir()
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for position in range(0, len(whole), 97) if damage == "flip" else [0]:
            flipped = bytearray(whole)
            flipped[position] ^= 0x10
            damaged = {"flip": bytes(flipped), "cut": whole[:-9], "empty": b"", "other": b"{}"}
            if damage == "gone":
                file.unlink()
            else:
                file.write_bytes(damaged.get(damage, b"x" * 99))
            assert same(cached(tmp_path), first)
            assert file.read_bytes() == whole


def test_two_that_fill_the_cache_at_once_both_have_their_tokens(tmp_path, monkeypatch):
    write = token_cache.new_folder

    def slower(folder, **options):
        with monkeypatch.context() as undo:
            undo.setattr(token_cache, "new_folder", write)
            token_cache.write_arrays(folder, {"ids": np.arange(3), "cut": np.array(0)})
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(token_cache, "new_folder", slower)
    arrays = {"ids": np.arange(3), "cut": np.array(0)}
    token_cache.write_arrays(tmp_path / "tokens", arrays)
    stored = token_cache.read_arrays(tmp_path / "tokens", arrays)
    assert stored is not None and stored["ids"].tolist() == [0, 1, 2]


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(token_cache, "new_folder", mock.Mock(side_effect=full))
    with pytest.raises(OSError, match="No space left"):
        cached(tmp_path)


def test_tokens_of_many_rows_lie_in_a_file_and_are_the_same(tmp_path, monkeypatch):
    rows = [example("no" * (index % 4 + 1), "it") for index in range(400)]
    small = tokenize_examples(rows, PLAIN, max_length=40)
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 200)
    large = tokenize_examples(rows, PLAIN, max_length=40)
    stored = tokenize_examples(rows, PLAIN, max_length=40, cache_dir=tmp_path)
    assert isinstance(large.ids, np.memmap) and not isinstance(small.ids, np.memmap)
    assert same(large, small) and same(stored, small)
    with pytest.raises(ValueError, match="read-only"):
        large.ids[0] = 1

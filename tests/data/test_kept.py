from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gemma_keras_tune.data import pack, scratch, tokenize
from gemma_keras_tune.data.examples import Example, load_examples
from gemma_keras_tune.data.kept import Joined, Keeper
from gemma_keras_tune.data.scratch import Scratch
from gemma_keras_tune.data.tokenize import tokenize_examples
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe import DataRecipe, TrainRecipe
from gemma_keras_tune.run_folder import HOME_VARIABLE
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Turn
from gemma_keras_tune.training.plan import TrainPlan
from tests.support.tiny_tokenizer import tiny_proto

FILES = Path("/proc/self/fd")


@pytest.fixture(params=[16, 2**20], ids=["file", "memory"])
def kept(request, monkeypatch):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", request.param)
    keeper = Keeper(dump, json.loads)
    for index in range(100):
        keeper.add(item(index))
    return keeper.items()


def dump(item):
    return json.dumps(item).encode()


def item(index):
    return [index, "é\ud800" * (index % 7)]


def test_what_was_kept_is_read_as_a_tuple_is(kept):
    whole = tuple(map(item, range(100)))
    assert len(kept) == 100 and tuple(kept) == whole
    assert kept[0] == item(0) and kept[-1] == item(99)
    assert tuple(kept[3:50:7]) == whole[3:50:7] and tuple(kept[::-1]) == whole[::-1]
    with pytest.raises(IndexError):
        kept[100]


def test_some_of_some_are_those_that_were_meant(kept):
    odd = kept.take(np.arange(1, 100, 2))
    assert tuple(odd.take(np.array([2, 0]))) == (item(5), item(1))
    assert tuple(odd[1:3]) == (item(3), item(5))


def test_several_threads_read_what_belongs_to_each(kept):
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(kept.__getitem__, list(range(100)) * 20)) == [*kept] * 20


def test_joined_sequences_are_one():
    joined = Joined([1, 2], (), (3,), range(4, 6))
    assert list(joined) == [1, 2, 3, 4, 5] and len(joined) == 5
    assert [joined[place] for place in (0, 2, 3, -1, -5)] == [1, 3, 4, 5, 1]
    assert list(joined[1:4]) == [2, 3, 4] and list(joined[3:1]) == []
    with pytest.raises(IndexError):
        joined[5]


def test_a_copy_is_a_tuple_in_memory(kept):
    copied = pickle.loads(pickle.dumps(kept.take(np.array([5, 2]))))
    assert copied == (item(5), item(2)) and copy.deepcopy(kept[:2]) == (item(0), item(1))


@pytest.mark.skipif(not FILES.exists(), reason="only Linux lists a process's files there")
@pytest.mark.parametrize("told", [True, False])
def test_the_file_has_no_name_and_goes_with_its_last_reader(told, monkeypatch, tmp_path):
    monkeypatch.delenv("TMPDIR", raising=False)
    if told:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 16)
    gc.collect()
    before = len(os.listdir(FILES))
    keeper = Keeper(dump, json.loads)
    for index in range(10):
        keeper.add(item(index))
    some = keeper.items()[2:4]
    del keeper
    gc.collect()
    assert len(os.listdir(FILES)) == before + 1
    assert (tmp_path / "home").exists() is not told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tuple(some) == (item(2), item(3))
    del some
    gc.collect()
    assert len(os.listdir(FILES)) == before


def test_an_array_outlives_what_it_was_made_from(monkeypatch):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 16)
    made = Scratch()
    for number in range(50):
        made.append(np.int32(number).tobytes())
    array = made.array(np.int32)
    del made
    gc.collect()
    assert array.tolist() == list(range(50))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("size", [9, 2**20])
def test_a_full_disk_says_which_and_what_to_do_once(size, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 4)
    full = partial(open, "/dev/full", "wb")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full())
    keeper = Keeper(lambda item: item, lambda item: item)
    with pytest.raises(TuneError, match=f"{tmp_path} is full.* set TMPDIR") as caught:
        for _ in range(3):
            keeper.add(b"x" * size)
        keeper.items()
    assert caught.value.code == "NEEDS_SPACE"
    del keeper, caught
    gc.collect()
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 4)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with pytest.raises(TuneError, match="gone: No such file or directory") as caught:
        Scratch().append(b"more than four")
    assert caught.value.code == "SCRATCH_FOLDER"
    Scratch().append(b"four")  # what is small needs no folder


def test_rows_of_a_large_file_are_not_in_memory(monkeypatch, tmp_path):
    path = tmp_path / "rows.csv"
    lines = "".join(f"ask {number},say {number}\n" for number in range(3000))
    path.write_text(f"prompt,response\n{lines}", encoding="utf-8")
    recipe = DataRecipe(path=str(path), task="instruction")
    small = load_examples(recipe)
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    large = load_examples(recipe)
    for part in ("train", "validation", "test"):
        assert tuple(getattr(large, part)) == tuple(getattr(small, part))
    turns = (Turn("user", "ask 0"), Turn("model", "say 0"))
    assert sorted(large.every, key=lambda row: row.row)[0] == Example(turns, None, 2, str(path))
    gc.collect()
    objects = sum(isinstance(thing, Example) for thing in gc.get_objects())
    assert objects < 100


def test_a_row_more_takes_a_few_numbers_more_and_not_its_words(monkeypatch, tmp_path):
    for module, name, most in ((scratch, "IN_MEMORY_BYTES", 2**16), (pack, "WINDOW", 256)):
        monkeypatch.setattr(module, name, most)
    monkeypatch.setattr(tokenize, "_BLOCK", 64)
    few, many = (most_memory_for(rows, tmp_path) for rows in (1000, 4000))
    assert (many - few) / 3000 < 150  # its words and tokens would take hundreds of bytes


def most_memory_for(rows, folder):
    """Bytes at most from a file of so many rows to the first batch."""
    path = folder / f"{rows}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = {"prompt": f"{number} " + "as it is " * 10, "response": "so it is " * 5}
            file.write(json.dumps(row) + "\n")
    recipe = DataRecipe(path=str(path), task="instruction")
    template = template_for("plain", Tokenizer(tiny_proto()))
    tracemalloc.start()
    try:
        examples = load_examples(recipe)
        tokens = tokenize_examples(examples.train, template, max_length=512, cache_dir=folder)
        TrainPlan(tokens=tokens, length=512, recipe=TrainRecipe(), pad_id=0).batches(1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

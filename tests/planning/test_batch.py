"""What fits, what doesn't, and what is suggested instead."""

import pytest

from gemma_keras_tune.planning.batch import MARGIN, judge, suggest
from gemma_keras_tune.planning.estimate import machine_stages
from gemma_keras_tune.planning.values import Memory, Room
from tests.planning.support import tiny_setting
from tests.support.tiny_models import tiny_gemma3

CONFIG = tiny_gemma3(layers=12, width=256, hidden_dim=1024)
LENGTH = 512


def needed(setting) -> int:
    return memory(setting, None).needed_bytes


def memory(setting, free) -> Memory:
    room = Room(where="machine", free_bytes=free, total_bytes=free, source="a test")
    return Memory(room=room, stages=machine_stages(setting))


def setting_of(rows, **changes):
    changes = {"remat": "none", **changes}  # so that training is the highest stage at any size
    return tiny_setting(
        config=CONFIG, length=LENGTH, rows=rows, micro_batches=24 // rows, **changes
    )


@pytest.mark.parametrize("fits", [1, 2, 6, 8, 12])
@pytest.mark.parametrize("rows", [1, 4, 24])
def test_the_suggested_micro_batch_fits_and_the_next_one_does_not(fits, rows):
    sizes = [1, 2, 3, 4, 6, 8, 12, 24]
    free = int(needed(setting_of(fits)) / MARGIN) + 1
    setting = setting_of(rows)
    found = suggest(setting, memory(setting, free).room, needed=needed)
    if rows == fits:
        assert found is None  # the recipe has it already
        return
    assert found is not None
    assert found.set == f"train.micro_batch_tokens={found.micro_batch_tokens}"
    assert found.micro_batch_tokens == fits * LENGTH
    assert found.peak_bytes == needed(setting_of(fits)) <= MARGIN * free
    assert needed(setting_of(sizes[sizes.index(fits) + 1])) > MARGIN * free
    tried = setting.with_micro_batch(found.micro_batch_tokens)
    assert tried.rows * tried.micro_batches == setting.rows * setting.micro_batches


def test_a_batch_that_nothing_divides_is_left_whole():
    setting = tiny_setting(config=CONFIG, length=LENGTH, rows=7, micro_batches=1, remat="none")
    free = int(needed(setting) * 0.99)
    found = suggest(setting, memory(setting, free).room, needed=needed)
    assert found is not None and found.micro_batch_tokens == LENGTH  # 2 to 6 rows don't divide 7


def test_a_size_that_would_make_a_step_longer_is_neither_suggested_nor_offered():
    """2,048 tokens are two micro-batches of two rows of 384, but five of one row."""
    setting = tiny_setting(config=CONFIG, length=384, rows=2, remat="none", batch_tokens=2048)
    assert (setting.rows, setting.micro_batches) == (2, 2)
    one_row = setting.with_micro_batch(384)
    assert (one_row.rows, one_row.micro_batches) == (1, 5)
    free = int(needed(one_row) / MARGIN) + 1
    assert needed(setting) > MARGIN * free
    assert suggest(setting, memory(setting, free).room, needed=needed) is None
    offered = judge(memory(setting, free), setting, needed=needed).changes
    assert not [words for words, _ in offered if "micro_batch" in words]


def test_no_size_is_suggested_where_not_even_one_row_fits_or_nobody_knows():
    setting = setting_of(4)
    assert suggest(setting, memory(setting, 1000).room, needed=needed) is None
    assert suggest(setting, memory(setting, None).room, needed=needed) is None


def test_verdicts_by_the_share_of_what_is_free():
    setting = setting_of(24)
    takes = needed(setting)
    for free, status in (
        (takes * 2, "fits"),
        (int(takes / MARGIN) + 1, "fits"),
        (int(takes / MARGIN) - 1, "tight"),
        (takes, "tight"),
        (takes - 1, "too_big"),
        (None, "fits"),
    ):
        assert judge(memory(setting, free), setting, needed=needed).status == status, free


def test_a_refusal_names_the_largest_terms_and_settings_that_do_fit():
    setting = setting_of(24, remat="none")
    takes = needed(setting)
    found = judge(memory(setting, int(takes * 0.95)), setting, needed=needed)
    assert found.status == "too_big"
    assert "training" in found.words and "all activations" in found.words
    settings = dict(found.changes)
    assert any(name.startswith("train.micro_batch_tokens=") for name in settings)
    assert "train.remat=dots" in settings
    for name, peak in settings.items():
        assert peak <= MARGIN * takes * 0.95, name
    first = next(iter(settings))
    tokens = int(first.partition("=")[2])
    assert needed(setting.with_micro_batch(tokens)) == settings[first]


def test_what_nothing_can_make_fit_has_no_changes():
    setting = setting_of(1)
    found = judge(memory(setting, 1000), setting, needed=needed)
    assert found.status == "too_big" and found.changes == ()

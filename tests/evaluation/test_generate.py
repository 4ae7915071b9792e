"""Generation: what `transformers` generates, in batches, with few compiled shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gemma_keras_tune.errors import DataError
from gemma_keras_tune.evaluation import generate as generate_module
from gemma_keras_tune.evaluation import token_loop
from gemma_keras_tune.evaluation.generate import Generation, generate
from gemma_keras_tune.model import decode_layers
from gemma_keras_tune.text.turns import Turn
from tests.evaluation.support import compiled, tiny_model, tuned, twin_models


@pytest.fixture(scope="module")
def twins(tiny_tokenizer):
    return twin_models(tiny_tokenizer)


@pytest.fixture(scope="module")
def model(twins):
    return twins[0]


def _generate(model, prompts, **settings: Any) -> list[Generation]:
    """Answers of 12 tokens without stop ids, in the one shape that most tests share."""
    return generate(
        model, prompts, **{"max_tokens": 12, "batch_rows": 4, "stop_ids": (), **settings}
    )


def _prompts(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(4, 512, length).tolist()) for length in lengths]


def test_greedy_answers_are_those_of_transformers_past_the_sliding_window(twins):
    import torch

    ours, theirs = twins
    prompts = _prompts(5, 21, 1, 11, 17)
    answers = _generate(ours, prompts)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        expected = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, min_new_tokens=12,
            do_sample=False,
        )  # fmt: skip
        assert answer.ids == tuple(expected[0, len(prompt) :].tolist())
        assert answer.prompt_ids == prompt
        assert answer.stop_reason == "length"


def test_an_answer_ends_with_its_stop_id_which_is_not_in_the_text(model):
    prompt, tokenizer = _prompts(9), model.tokenizer
    free = _generate(model, prompt)[0]
    known = [token for token in free.ids if token < tokenizer.vocab_size]
    stop = next(token for token in known[1:] if token not in tokenizer.reserved_ids)
    cut = free.ids.index(stop)
    answer = _generate(model, prompt, stop_ids=[stop])[0]
    assert answer.ids == free.ids[: cut + 1]
    assert answer.stop_reason == "stop"
    before = [token for token in free.ids[:cut] if token < tokenizer.vocab_size]
    assert answer.text == tokenizer.decode(before) != tokenizer.decode([*before, stop])


def test_rows_that_stop_early_leave_the_others_as_they_are(model):
    prompts = _prompts(9, 6, 14)
    alone = [_generate(model, [prompt])[0].ids for prompt in prompts]
    stop = alone[0][2]
    together = _generate(model, prompts, stop_ids=[stop])
    for ids, answer in zip(alone, together, strict=True):
        length = ids.index(stop) + 1 if stop in ids else 12
        assert answer.ids == ids[:length]


def test_the_templates_stop_ids_are_the_default(model):
    prompt = _prompts(9)
    stop = _generate(model, prompt)[0].ids[5]
    stopping = model.replace(template=replace(model.template, stop_ids=(stop, 1)))
    answer = _generate(stopping, prompt, stop_ids=None)[0]
    assert answer == _generate(model, prompt, stop_ids=[stop])[0]
    assert answer.stop_reason == "stop"


def test_more_tokens_than_the_first_cache_holds_change_nothing(model, monkeypatch):
    prompts = _prompts(7, 30)
    expected = [answer.ids for answer in _generate(model, prompts, max_tokens=30)]
    monkeypatch.setattr(generate_module, "_FIRST_ROOM", 16)
    found = [answer.ids for answer in _generate(model, prompts, max_tokens=30)]
    assert found == expected


def test_texts_and_turns_are_rendered_by_the_template(model):
    text = "What is the capital of France?"
    turns = [Turn("system", "Be short."), Turn("user", text)]
    found = _generate(model, [text, turns], max_tokens=1)
    for answer, expected in zip(found, ([Turn("user", text)], turns), strict=True):
        rendered = model.template.render(expected, add_generation_prompt=True)
        assert answer.prompt_ids == rendered.ids


def test_sampled_answers_depend_on_seed_and_place_not_on_the_batch(model):
    prompts = _prompts(5, 21, 1, 11, 5)
    wide = _generate(model, prompts, seed=7, temperature=1.0)
    narrow = _generate(model, prompts, seed=7, temperature=1.0, batch_rows=2)
    assert [answer.ids for answer in wide] == [answer.ids for answer in narrow]
    others = [*_prompts(2, 2, 2, 2, seed=9), prompts[4]]
    assert _generate(model, others, seed=7, temperature=1.0)[4].ids == wide[4].ids
    changed = _generate(model, prompts, seed=8, temperature=1.0)
    assert [answer.ids for answer in changed] != [answer.ids for answer in wide]
    same_prompt = _generate(model, [prompts[0]] * 2, seed=7, temperature=1.0)
    assert same_prompt[0].ids != same_prompt[1].ids


def test_adapters_take_part(model):
    prompts = _prompts(5, 21)
    base = _generate(model, prompts)
    other = _generate(tuned(model, strength=0.5), prompts)
    assert [answer.ids for answer in base] != [answer.ids for answer in other]


def test_a_second_call_of_the_same_shape_compiles_nothing(model):
    functions = (token_loop._with_next, decode_layers._begin, decode_layers._one_layer)
    _generate(model, _prompts(5, 21, 9), temperature=0.5, top_k=5)
    before = [compiled(function) for function in functions]
    changed: dict[str, Any] = {"temperature": 0.9, "top_k": 50, "seed": 3, "stop_ids": (7, 9)}
    _generate(model, _prompts(30, 2, 4), max_tokens=15, **changed)
    assert [compiled(function) for function in functions] == before


def test_one_program_answers_what_a_program_for_each_layer_does(model, monkeypatch):
    prompts = _prompts(5, 21, 9)
    how: dict[str, Any] = {"max_tokens": 40, "temperature": 0.7, "top_p": 0.9, "seed": 5}
    tuned_model = tuned(model, strength=0.5)
    by_layers = _generate(tuned_model, prompts, **how)
    calls = compiled(token_loop._more_tokens)
    monkeypatch.setattr(token_loop, "layers_in_place", lambda *_: None)  # as on an accelerator
    assert _generate(tuned_model, prompts, **how) == by_layers
    assert compiled(token_loop._more_tokens) == calls + 1


def test_every_token_is_handed_out_in_order(model):
    handed: dict[int, list[int]] = {place: [] for place in range(5)}
    prompts = _prompts(9, 6, 14, 5, 3)
    answers = _generate(
        model,
        prompts,
        on_token=lambda place, token: handed[place].append(token),
    )
    assert [tuple(handed[place]) for place in range(5)] == [answer.ids for answer in answers]


def test_progress_reaches_the_number_of_prompts(model):
    events: list[Any] = []
    _generate(model, _prompts(9, 6, 14, 5, 3), on_event=events.append)
    assert [event.stage for event in events] == ["generation"] * len(events)
    done = [event.done for event in events]
    assert done == sorted(done) and done[-1] == events[-1].total == 5
    assert events[-1].seconds_left == pytest.approx(0)


def test_no_prompts_give_no_answers(model):
    assert generate(model, []) == []


def test_an_answer_ends_where_the_models_positions_end(model):
    answer = generate(model, _prompts(1020), max_tokens=20, stop_ids=(), batch_rows=1)[0]
    assert len(answer.ids) == 4
    assert answer.stop_reason == "length"


def test_a_prompt_that_leaves_no_room_is_refused(model):
    with pytest.raises(DataError, match="Prompt 2 has 1024 tokens.*at most 1024"):
        generate(model, [*_prompts(5, 1024)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"batch_rows": 0}, "batch_rows must be at least 1, not 0"),
        ({"temperature": -0.1}, "temperature must be a finite number of at least 0"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must lie above 0"),
        ({"top_p": 1.5}, "top_p must lie above 0"),
        ({"seed": -1}, "seed must lie in 0..4294967295"),
    ],
)
def test_a_bad_setting_is_refused_with_what_is_allowed(model, settings, message):
    with pytest.raises(ValueError, match=message):
        generate(model, ["hello"], **settings)


def test_a_text_in_place_of_a_list_is_refused(model):
    with pytest.raises(ValueError, match=r"write \[prompt\]"):
        generate(model, "hello")


@pytest.mark.parametrize("prompt", [(), (5, 512), (-1,), None, (2.5,), [{"role": "user"}]])
def test_ids_outside_the_vocabulary_are_refused(model, prompt):
    with pytest.raises(ValueError, match=r"prompts\[1\] must be .* within 0\.\.511"):
        generate(model, ["hello", prompt])


def test_what_the_template_refuses_names_the_prompt(model):
    with pytest.raises(DataError, match="Prompt 2: .*empty") as caught:
        generate(model, ["hello", "  "])
    assert caught.value.code == "EMPTY_TURN"


def test_the_plain_template_stops_at_eos(tiny_tokenizer):
    model = tiny_model(tiny_tokenizer, template="plain")
    assert model.template.stop_ids == (1,)
    answer = _generate(model, ["spam or ham?"])[0]
    assert answer.prompt_ids[-1] == tiny_tokenizer.id_of("\n")

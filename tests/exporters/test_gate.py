from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gemma_keras_tune.errors import ExportError
from gemma_keras_tune.exporters import consumer as consumer_module
from gemma_keras_tune.exporters.consumer import Job, run_consumers
from gemma_keras_tune.exporters.gate import Expected, compare
from gemma_keras_tune.exporters.gate_reference import Reference
from gemma_keras_tune.exporters.probes import Probes, Prompt, make_probes
from tests.exporters.conftest import tuned_tiny


@pytest.mark.parametrize("name", ["hf", "shards", "peft"])
def test_a_float32_artifact_computes_what_the_model_computes_to_1e_4(gate, name):
    parity = gate.parity(name)
    assert parity.problems == ()
    assert parity.passed
    assert parity.max_abs_diff < 1e-4
    assert parity.argmax_agreement == 1.0
    assert parity.greedy_equal
    assert parity.follows_tuned == pytest.approx(1.0, abs=1e-4)
    assert parity.base_max_abs_diff > 0.1
    assert parity.greedy_tokens >= 16
    assert parity.prompts >= 5


def test_an_adapter_is_computed_both_live_and_merged(gate):
    assert gate.parity("peft").variants == ("live", "merged")
    assert set(gate.versions) == {"transformers", "tokenizers", "peft", "torch"}


def test_a_bfloat16_artifact_passes_with_the_looser_tolerance_only(gate):
    parity = gate.parity("bf16", rule="bfloat16")
    assert parity.passed
    assert 0.01 < parity.max_abs_diff < parity.tolerance
    assert not gate.parity("bf16").passed


def test_one_prompt_is_longer_than_the_sliding_window(gate):
    window = gate.expected.model.config.sliding_window
    assert max(len(p.ids) for p in gate.expected.probes.prompts) > window
    wide = tuned_tiny(sliding_window=500)
    assert max(len(p.ids) for p in make_probes(wide).prompts) > 500
    wider = tuned_tiny(sliding_window=4096, max_positions=8192)
    assert max(len(p.ids) for p in make_probes(wider).prompts) <= 128


CAUGHT = {
    "transposed projection": "logits are off",
    "norm off by one": "logits are off",
    "swapped bos and eos": "other ids for bos, eos or pad",
    "wrong stop id": "stops after other tokens",
    "one kv head for both": "logits are off",
    "other chat template": "chat template gives other ids",
    "window too long": "logits are off",
    "wrong local wavelength": "logits are off",
    "no global layer": "logits are off",
    "markers that text can say": "tokenizer gives other ids",
    "no bos": "tokenizer gives other ids",
    "not finite": "logits are off",
    "alpha doubled": "logits are off",
    "projection misnamed": "logits are off",
    "no lora": "not the tuned model",
}


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_planted_fault_is_caught(gate, fault):
    parity = gate.parity(fault)
    assert not parity.passed
    assert any(CAUGHT[fault] in problem for problem in parity.problems), parity.problems


def test_a_lost_adapter_is_caught_in_bfloat16_too(gate):
    parity = gate.parity("no lora, bf16", rule="bfloat16")
    assert parity.differs_from_base is False
    assert parity.follows_tuned == pytest.approx(0.0, abs=0.01)


def test_a_file_that_the_consumer_cannot_load_is_an_error_of_that_artifact_alone(gate):
    assert "mismatched" in gate.results["one kv head lost"]["error"]
    assert gate.results["no lora"]["error"] is None


def two_word_model(tuned, logits, *, base=None, greedy=(1, 1), greedy_logits=None) -> Expected:
    """Expected answers of a made-up model of two words, one prompt, two positions."""
    probes = Probes(
        prompts=(Prompt(ids=(2, 5), keep=2),),
        greedy_tokens=2,
        texts=(),
        chats=(),
        stop_candidates=(),
    )
    rows = np.array([[0.0, 4.0], [0.0, 4.0]]) if greedy_logits is None else greedy_logits
    answers = Reference(
        logits=[np.array(logits, np.float32)], greedy=list(greedy), greedy_logits=rows
    )
    bases = None if base is None else [np.array(base, np.float32)]
    return Expected(model=tuned, probes=probes, tuned=answers, base_logits=bases)


def consumer_says(tuned, logits, tmp_path, *, greedy=(1, 1)):
    np.save(tmp_path / "l.npy", np.array(logits, np.float32))
    ends = sorted(tuned.template.stop_ids)
    ids = {"bos": 2, "eos": ends, "pad": 0}
    return {
        "variants": {"saved": {"logits": ["l.npy"], "greedy": list(greedy)}},
        "token_ids": [],
        "decoded": [],
        "with_bos": [2, *tuned.tokenizer.encode("a")],
        "chat_ids": [],
        "special_ids": {
            "config.json": ids,
            "generation_config.json": ids,
            "tokenizer_config.json": ids | {"eos": 1},
        },
        "stops": [],
    }


def parity_of(tuned, tmp_path, *, ours, theirs, rule="float32", greedy=(1, 1), **expected):
    return compare(
        two_word_model(tuned, ours, **expected),
        consumer_says(tuned, theirs, tmp_path, greedy=greedy),
        rule=rule,
        work_dir=tmp_path,
        versions={},
    )


def test_the_numbers_are_those_worked_out_by_hand(tuned, tmp_path):
    # a row [0, 4] has standard deviation 2; the artifact went 3/4 and 5/4 of the way from base
    parity = parity_of(
        tuned,
        tmp_path,
        ours=[[0, 4], [0, 4]],
        theirs=[[0, 3], [0, 5]],
        base=[[0, 0], [0, 0]],
        rule="bfloat16",
    )
    assert parity.logits_std == 2.0
    assert parity.tolerance == 0.25 * 2.0
    assert parity.max_abs_diff == 1.0
    assert parity.base_max_abs_diff == 4.0
    assert parity.follows_tuned == 1.0
    assert parity.argmax_agreement == 1.0
    assert not parity.passed


def test_nan_is_never_taken_for_no_difference(tuned, tmp_path):
    parity = parity_of(tuned, tmp_path, ours=[[0, 4], [0, 4]], theirs=[[0, 4], [np.nan, 4]])
    assert parity.max_abs_diff == np.inf
    assert not parity.passed


def test_without_a_base_nothing_is_said_about_it(tuned, tmp_path):
    parity = parity_of(tuned, tmp_path, ours=[[0, 4], [0, 4]], theirs=[[0, 4], [0, 4]])
    assert parity.differs_from_base is None
    assert parity.passed


def test_training_that_changed_nothing_is_not_published(tuned, tmp_path):
    same = [[0, 4], [0, 4]]
    parity = parity_of(tuned, tmp_path, ours=same, theirs=same, base=same)
    assert parity.differs_from_base is False
    assert "training changed no logit" in parity.problems[0]


def test_another_greedy_token_is_excused_only_by_a_tie(tuned, tmp_path):
    same = [[0, 4], [0, 4]]
    close = np.array([[0.0, 4.0], [3.9999, 4.0]])
    tie = parity_of(tuned, tmp_path, ours=same, theirs=same, greedy=(1, 0), greedy_logits=close)
    assert not tie.greedy_equal
    assert tie.passed
    clear = parity_of(tuned, tmp_path, ours=same, theirs=same, greedy=(1, 0))
    assert clear.problems == ("its greedy continuation is another one",)


def test_a_consumer_process_that_dies_is_a_clear_error(tuned, tmp_path, monkeypatch):
    monkeypatch.setattr(consumer_module.sys, "executable", "/bin/false")
    with pytest.raises(ExportError, match="ended with code 1") as caught:
        run_consumers([Job(kind="hf", folder=tmp_path)], make_probes(tuned), tmp_path)
    assert caught.value.code == "EXPORT_CONSUMER"


def test_parity_json_has_the_keys_that_others_rely_on(gate):
    keys = {"passed", "max_abs_diff", "argmax_agreement", "greedy_equal"}
    keys |= {"differs_from_base", "token_ids_equal", "tolerance", "prompts", "versions"}
    parity = gate.parity("hf")
    assert keys <= set(parity.to_json())
    assert parity.to_json() == dataclasses.asdict(parity)

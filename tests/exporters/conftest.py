"""One tiny tuned model, and one consumer process for all artifacts that the tests look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gemma_keras_tune.exporters.consumer import Job, run_consumers
from gemma_keras_tune.exporters.gate import Expected, Parity, compare, expect
from gemma_keras_tune.exporters.hf import write_hf
from gemma_keras_tune.exporters.peft import write_peft
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.lora import Adapters, init_adapters
from gemma_keras_tune.model.value import Model, ModelSource
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.recipe import ExportRecipe, LoraRecipe
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_tokenizer import tiny_proto

FLOAT32 = ExportRecipe(format="hf")
BFLOAT16 = ExportRecipe(format="hf", dtype="bfloat16")
SMALL_SHARDS = ExportRecipe.model_construct(format="hf", dtype="float32", max_shard_bytes=100_000)

RANK_4 = LoraRecipe(rank=4)


def tuned_tiny(template: str = "gemma", *, strength: float = 0.05, **changes: Any) -> Model:
    """A tiny Gemma 3 with random weights and an adapter that changes what it says."""
    return tuned_model(tiny_gemma3(**changes), template, strength=strength)


def tuned_model(
    config: GemmaConfig,
    template: str,
    *,
    strength: float = 0.05,
    lora: LoraRecipe = RANK_4,
) -> Model:
    """A model of that config with random weights and an adapter that changes what it says."""
    tokenizer = Tokenizer(tiny_proto())
    fresh = init_adapters(config, lora)
    rng = np.random.default_rng(1)
    tree = {
        name: {
            "a": pair["a"],
            "b": jnp.asarray(strength * rng.standard_normal(pair["b"].shape), jnp.float32),
        }
        for name, pair in fresh.tree.items()
    }
    return Model(
        config=config,
        weights=init_random(config, seed=0),
        tokenizer=tokenizer,
        template=template_for(template, tokenizer),
        source=ModelSource(name="tiny", kind="random", sha256="0" * 64),
        adapters=Adapters(tree=tree, config=fresh.config),
    )


@pytest.fixture(scope="session", autouse=True)
def data_root(tmp_path_factory):
    """A data root of the tests' own, so that no cache of the machine is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("OMP_NUM_THREADS", "1")  # a tiny model is slower with more
        yield


@pytest.fixture(scope="session")
def tuned() -> Model:
    return tuned_tiny()


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_tensor(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    save_file(tensors, path, metadata={"format": "pt"})


@dataclass(frozen=True)
class Gate:
    """What one consumer process said about many artifacts of one model."""

    root: Path
    expected: Expected
    results: dict[str, dict[str, Any]]
    versions: dict[str, str]

    def parity(self, name: str, *, rule: str = "float32") -> Parity:
        result = self.results[name]
        assert result["error"] is None
        return compare(self.expected, result, rule=rule, work_dir=self.root, versions=self.versions)


@pytest.fixture(scope="session")
def gate(tuned, tmp_path_factory) -> Gate:
    root = tmp_path_factory.mktemp("gate")
    jobs = {**_sound(root, tuned), **_faulty(root, tuned)}
    expected = expect(tuned)
    results, versions = run_consumers(list(jobs.values()), expected.probes, root)
    return Gate(root, expected, dict(zip(jobs, results, strict=True)), versions)


def _sound(root: Path, tuned: Model) -> dict[str, Job]:
    jobs = {}
    base = _folder(root, "base")
    write_hf(base, tuned.replace(adapters=None), FLOAT32)
    for name, recipe in (("hf", FLOAT32), ("bf16", BFLOAT16), ("shards", SMALL_SHARDS)):
        folder = _folder(root, name)
        write_hf(folder, tuned, recipe)
        jobs[name] = Job(kind="hf", folder=folder)
    adapter = _folder(root, "peft")
    write_peft(adapter, tuned)
    jobs["peft"] = Job(kind="peft", folder=adapter, base=base)
    return jobs


def _faulty(root: Path, tuned: Model) -> dict[str, Job]:
    """Artifacts with one fault each; the names say which."""
    jobs = {}
    for name, break_it in FAULTS.items():
        folder = _folder(root, name)
        write_hf(folder, tuned, FLOAT32)
        break_it(folder)
        jobs[name] = Job(kind="hf", folder=folder)
    for name, break_it in ADAPTER_FAULTS.items():
        folder = _folder(root, name)
        write_peft(folder, tuned)
        break_it(folder)
        jobs[name] = Job(kind="peft", folder=folder, base=root / "base")
    for name, recipe in (("no lora", FLOAT32), ("no lora, bf16", BFLOAT16)):
        folder = _folder(root, name)
        write_hf(folder, tuned.replace(adapters=None), recipe)
        jobs[name] = Job(kind="hf", folder=folder)
    return jobs


def _folder(root: Path, name: str) -> Path:
    folder = root / name.replace(" ", "-").replace(",", "")
    folder.mkdir()
    return folder


_LAYER = "model.layers.2"


def _swap_bos_and_eos(folder: Path) -> None:
    edit_json(folder / "config.json", lambda c: c.update(bos_token_id=1, eos_token_id=2))


def _stop_at_eos_only(folder: Path) -> None:
    edit_json(folder / "generation_config.json", lambda c: c.update(eos_token_id=1))


def _drop_a_kv_head(folder: Path) -> None:
    edit_tensor(
        folder, f"{_LAYER}.self_attn.k_proj.weight", lambda k: np.concatenate([k[:16], k[:16]])
    )


def _lose_a_kv_head(folder: Path) -> None:
    edit_tensor(folder, f"{_LAYER}.self_attn.v_proj.weight", lambda v: v[:16])


def _other_chat_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    text = path.read_text()
    assert "<start_of_turn>model" in text
    path.write_text(text.replace("<start_of_turn>model", "<start_of_turn>assistant"))


def _markers_are_text_like(folder: Path) -> None:
    """As in Google's own file: what text may say, and then forges a turn."""

    def ordinary(tokens: Any) -> None:
        for token in tokens:
            token["special"] = False

    edit_json(folder / "tokenizer.json", lambda t: ordinary(t["added_tokens"]))
    edit_json(
        folder / "tokenizer_config.json", lambda t: ordinary(t["added_tokens_decoder"].values())
    )


def _no_bos(folder: Path) -> None:
    def drop(tokenizer: dict[str, Any]) -> None:
        tokenizer["post_processor"] = None

    edit_json(folder / "tokenizer.json", drop)
    edit_json(
        folder / "tokenizer_config.json", lambda t: t.update(tokenizer_class="TokenizersBackend")
    )


def _misname_a_projection(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = {name.replace("up_proj", "upp_proj"): t for name, t in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


FAULTS: dict[str, Callable[[Path], None]] = {
    "transposed projection": lambda f: edit_tensor(
        f, f"{_LAYER}.mlp.gate_proj.weight", lambda m: m.T.reshape(m.shape)
    ),
    "norm off by one": lambda f: edit_tensor(
        f, f"{_LAYER}.self_attn.q_norm.weight", lambda n: n + 1
    ),
    "swapped bos and eos": _swap_bos_and_eos,
    "wrong stop id": _stop_at_eos_only,
    "one kv head for both": _drop_a_kv_head,
    "one kv head lost": _lose_a_kv_head,
    "other chat template": _other_chat_template,
    "window too long": lambda f: edit_json(f / "config.json", lambda c: c.update(sliding_window=9)),
    "wrong local wavelength": lambda f: edit_json(
        f / "config.json", lambda c: c.update(rope_local_base_freq=1e6)
    ),
    "no global layer": lambda f: edit_json(
        f / "config.json", lambda c: c.update(layer_types=["sliding_attention"] * 6)
    ),
    "markers that text can say": _markers_are_text_like,
    "no bos": _no_bos,
    "not finite": lambda f: edit_tensor(f, "model.norm.weight", lambda n: n * np.float32("nan")),
}

ADAPTER_FAULTS: dict[str, Callable[[Path], None]] = {
    "alpha doubled": lambda f: edit_json(
        f / "adapter_config.json", lambda c: c.update(lora_alpha=2 * c["lora_alpha"])
    ),
    "projection misnamed": _misname_a_projection,
}

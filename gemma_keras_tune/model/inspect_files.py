"""What a model's files are, before anything is loaded: only safetensors and GGUF pass.

Made for files that a stranger uploaded. Nothing is executed, unpacked, rendered or followed; a
file is known by its first bytes as well as by its name, and every size that it declares is held
against the size that it has. Reading is still work for a limited process (`limits.py`).
"""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ModelError, need
from ..text.tokenizer import Tokenizer
from .config import GemmaConfig
from .gguf import gguf_tokenizer_proto, is_loaded
from .gguf_config import gguf_config
from .gguf_file import GgufFile, read_gguf
from .huggingface import is_of_the_text_model, read_config, read_tokenizer_proto, weight_files
from .safetensors_file import TensorPlace, read_header
from .weights import parameter_count

_MAX_FILES = 1000
_MAX_JSON_BYTES = 64 << 20
_MAX_TEXT_BYTES = 4 << 20
_MAX_TENSORS = 100_000
_SHOWN_TENSORS = 2000

# What a file is, by its first bytes: nothing with these passes, whatever its name says.
_MAGIC = (
    (b"\x89HDF", "an HDF5 file (Keras weights)"),
    (b"PK\x03\x04", "a zip archive (a .keras, PyTorch or NumPy file)"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_TAR = (257, b"ustar")
_RUNS_CODE = {
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"), "MODEL_PICKLE"),
    **dict.fromkeys((".npy", ".npz"), "MODEL_PICKLE"),
    **dict.fromkeys((".keras", ".h5", ".hdf5", ".tf", ".pb"), "MODEL_KERAS_FILE"),
    **dict.fromkeys((".py", ".pyc", ".so", ".sh", ".ipynb"), "MODEL_CODE"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z"), "MODEL_ARCHIVE"),
}
_ALLOWED = {".safetensors", ".gguf", ".json", ".model", ".jinja", ".md", ".txt", ""}
_NAMES_WITHOUT_SUFFIX = {"LICENSE", "NOTICE", ".gitattributes", "USE_POLICY"}


def inspect_model(path: Path) -> dict[str, Any]:
    """What the model at `path` is, as plain JSON values.

    Args:
        path: A `.gguf` file, or a folder with safetensors files: a Hugging Face model, or a PEFT
            adapter.

    Returns:
        `kind` (`gguf`, `hf_folder`, `peft_adapter`), `size_bytes`, `parameters`, `dtypes`,
        `tensors` (name, shape and type of the first 2,000), `config` and `vocab_size`.

    Raises:
        ModelError: If it is anything else, in part or whole; the message says what.
    """
    if path.is_symlink() or not path.exists():
        raise _refused(path, "is a link or is not there", "MODEL_FILE_MISSING")
    if path.is_dir():
        return _folder(path)
    _check_file(path)
    if path.suffix.lower() != ".gguf":
        raise _refused(path, "is no .gguf file; of safetensors, the folder is needed", "MODEL_FILE")
    return _gguf(path)


def _folder(folder: Path) -> dict[str, Any]:
    files = sorted(folder.iterdir())
    if len(files) > _MAX_FILES:
        raise _refused(folder, f"holds more than {_MAX_FILES} files", "MODEL_TOO_MANY_FILES")
    for file in files:
        _check_file(file)
    if (folder / "config.json").is_file():
        return _hugging_face(folder)
    if (folder / "adapter_config.json").is_file():
        return _adapter(folder)
    raise _refused(folder, "has neither config.json nor adapter_config.json", "MODEL_FILE_MISSING")


def _check_file(path: Path) -> None:
    """Refuse what a model has no need of, by its kind, its name and its first bytes.

    Raises:
        ModelError: With the reason.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "is no plain file (a link, a folder or a device)", "MODEL_FILE")
    suffix = path.suffix.lower()
    if suffix in _RUNS_CODE:
        raise _refused(
            path, "can run code when it is opened, or hide what does", _RUNS_CODE[suffix]
        )
    if suffix not in _ALLOWED or (not suffix and path.name not in _NAMES_WITHOUT_SUFFIX):
        raise _refused(path, "is no part of a model that is read here", "MODEL_FILE")
    with path.open("rb") as file:
        head = file.read(512)
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise _refused(path, f"is {what}, whatever its name says", "MODEL_DISGUISED")
    if head[_TAR[0] :].startswith(_TAR[1]):
        raise _refused(path, "is a tar archive, whatever its name says", "MODEL_DISGUISED")
    most = {".json": _MAX_JSON_BYTES, ".model": _MAX_JSON_BYTES}.get(suffix, _MAX_TEXT_BYTES)
    if suffix not in (".safetensors", ".gguf") and status.st_size > most:
        raise _refused(path, f"has {status.st_size:,} bytes; {most:,} are enough", "MODEL_FILE")


def _hugging_face(folder: Path) -> dict[str, Any]:
    config = _guarded(folder / "config.json", lambda: read_config(folder))
    files = _guarded(folder, lambda: weight_files(folder))
    places = [place for file in files for place in _tensors(file)]
    shapes = [place.shape for place in places if is_of_the_text_model(place.name, config)]
    _check_numbers(folder, config, shapes)
    vocab_size = _vocab_size(folder, config, lambda: read_tokenizer_proto(folder))
    return _found("hf_folder", files, places, config=config, vocab_size=vocab_size)


def _adapter(folder: Path) -> dict[str, Any]:
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise _refused(folder, "has no adapter_model.safetensors", "MODEL_FILE_MISSING")
    return _found("peft_adapter", [file], _tensors(file))


def _gguf(path: Path) -> dict[str, Any]:
    parsed = _guarded(path, lambda: read_gguf(path))
    if len(parsed.tensors) > _MAX_TENSORS:
        raise _refused(path, f"declares {len(parsed.tensors):,} tensors", "MODEL_FILE_DAMAGED")
    _check_gguf_sizes(parsed)
    config = gguf_config(parsed)
    shapes = [tensor.shape for tensor in parsed.tensors if is_loaded(tensor.name, config)]
    _check_numbers(path, config, shapes)
    gguf = need("gguf", extra="demo")
    tensors = [
        {"name": t.name, "shape": list(t.shape), "dtype": gguf.GGMLQuantizationType(t.kind).name}
        for t in parsed.tensors
    ]
    return {
        "kind": "gguf",
        "size_bytes": path.stat().st_size,
        "files": [path.name],
        **_summary(tensors),
        "config": config.to_json(),
        "vocab_size": _vocab_size(path, config, lambda: gguf_tokenizer_proto(parsed)),
    }


def _check_gguf_sizes(parsed: GgufFile) -> None:
    """Every tensor lies within the file, and none on top of another.

    Raises:
        ModelError: `MODEL_FILE_DAMAGED` or `MODEL_DTYPE`.
    """
    gguf = need("gguf", extra="demo")
    size, end = parsed.path.stat().st_size, 0
    for tensor in sorted(parsed.tensors, key=lambda tensor: tensor.start):
        try:
            per_block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor.kind)]
        except (ValueError, KeyError):
            raise _refused(
                parsed.path, f"has a tensor of the unknown type {tensor.kind}", "MODEL_DTYPE"
            ) from None
        if tensor.start < end:
            raise _refused(
                parsed.path, f"has tensors that overlap at {tensor.name!r}", "MODEL_FILE_DAMAGED"
            )
        end = tensor.start + -(-math.prod(tensor.shape) // per_block) * block_bytes
        if end > size:
            raise _refused(
                parsed.path,
                f"should have {end:,} bytes for tensor {tensor.name!r}, and has {size:,}",
                "MODEL_FILE_DAMAGED",
            )


def _tensors(path: Path) -> list[TensorPlace]:
    """The tensors of a safetensors file: all of its bytes, each once.

    Raises:
        ModelError: If the header doesn't fit the file.
    """
    places = _guarded(path, lambda: read_header(path))
    if len(places) > _MAX_TENSORS:
        raise _refused(path, f"declares {len(places):,} tensors", "MODEL_FILE_DAMAGED")
    with path.open("rb") as file:
        end = 8 + int.from_bytes(file.read(8), "little")
    for place in places:
        if place.start != end:
            raise _refused(
                path, f"has a gap or an overlap before tensor {place.name!r}", "MODEL_FILE_DAMAGED"
            )
        end += math.prod(place.shape) * place.dtype.itemsize
    if end != path.stat().st_size:
        raise _refused(
            path,
            f"should have {end:,} bytes, and has {path.stat().st_size:,}",
            "MODEL_FILE_DAMAGED",
        )
    return places


def _found(
    kind: str,
    files: Sequence[Path],
    places: Sequence[TensorPlace],
    *,
    config: GemmaConfig | None = None,
    vocab_size: int | None = None,
) -> dict[str, Any]:
    tensors = [
        {"name": place.name, "shape": list(place.shape), "dtype": place.dtype.name}
        for place in places
    ]
    return {
        "kind": kind,
        "size_bytes": sum(file.stat().st_size for file in files),
        "files": [file.name for file in files],
        **_summary(tensors),
        "config": None if config is None else config.to_json(),
        "vocab_size": vocab_size,
    }


def _summary(tensors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "parameters": sum(math.prod(tensor["shape"]) for tensor in tensors),
        "dtypes": sorted({tensor["dtype"] for tensor in tensors}),
        "tensor_count": len(tensors),
        "tensors": list(tensors[:_SHOWN_TENSORS]),
    }


def _check_numbers(where: Path, config: GemmaConfig, shapes: Sequence[tuple[int, ...]]) -> None:
    """The config asks for as many numbers as there are: loading allocates what it asks for.

    Raises:
        ModelError: `MODEL_TENSOR_SHAPE`.
    """
    asked, there = parameter_count(config), sum(map(math.prod, shapes))
    if asked != there:
        raise _refused(
            where,
            f"has {there:,} numbers, and its config asks for {asked:,}; they don't belong together",
            "MODEL_TENSOR_SHAPE",
        )


def _vocab_size(where: Path, config: GemmaConfig, proto: Callable[[], bytes]) -> int:
    size = _guarded(where, lambda: Tokenizer(proto()).vocab_size)
    if size > config.vocab_size:
        raise _refused(
            where,
            f"has a tokenizer of {size} tokens and an embedding for {config.vocab_size}",
            "MODEL_TOKENIZER",
        )
    return size


_Read = TypeVar("_Read")


def _guarded(path: Path, read: Callable[[], _Read]) -> _Read:
    """What `read` gives; what bytes of any kind can lead a reader into is one clear error.

    Raises:
        ModelError: `MODEL_FILE_DAMAGED`, or what `read` raises.
    """
    try:
        return read()
    except (RecursionError, ArithmeticError, LookupError, ValueError, TypeError) as error:
        said = f"can't be read ({type(error).__name__}: {str(error)[:200]})"
        raise _refused(path, said, "MODEL_FILE_DAMAGED") from error


def _refused(path: Path, why: str, code: str) -> ModelError:
    return ModelError(
        f"{path.name} {why}. A model is given as a folder with config.json, safetensors files and "
        "a tokenizer, or as one .gguf file.",
        code=code,
    )

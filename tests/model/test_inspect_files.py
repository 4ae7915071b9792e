"""Models that a stranger uploaded: each row of the table of known attacks, and nothing executed.

Every file that would run something when opened would make the file `canary`; an audit hook in the
process that inspects notes any start of a program, any connection and any unpickling as well.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.inspect_files import inspect_model
from tests.support.jobs import save_model

Inspect = Callable[[Path], tuple[str, str]]
Refused = Callable[..., str]

HOOKED = """
import json, sys
from pathlib import Path
from gemma_keras_tune.model.inspect_files import inspect_model
import gguf, sentencepiece

FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect",
             "socket.getaddrinfo", "pickle.find_class", "exec", "compile", "ctypes.dlopen")
HEAVY = ("jax", "keras", "tensorflow", "torch", "jinja2", "h5py")
seen, armed = [], False

def hook(event, arguments):
    if armed and (event in FORBIDDEN or event == "open" and str(arguments[0]).startswith("/etc/")):
        seen.append(event)

sys.addaudithook(hook)
for line in sys.stdin:
    seen.clear()
    try:
        kind = inspect_model(Path(line.strip()))["kind"]
        said = ["", "", kind]
    except Exception as error:
        said = [type(error).__name__, getattr(error, "code", ""), str(error)]
    print(json.dumps([*said, list(seen), [n for n in HEAVY if n in sys.modules]]), flush=True)
    armed = True  # the first one only imports what is needed
"""


class Runs:
    """Unpickled, makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        import os

        return os.system, (f"touch {self.canary}",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture
def folder(tmp_path, whole) -> Path:
    import shutil

    return Path(shutil.copytree(whole, tmp_path / "upload"))


@pytest.fixture
def canary(tmp_path) -> Path:
    return tmp_path / "canary"


@pytest.fixture(scope="module")
def inspector(whole) -> Iterator[Inspect]:
    """Asks a process of its own, and makes sure that it does nothing else: (code, message)."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOOKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(path: Path) -> tuple[str, str]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        kind, code, said, seen, heavy = json.loads(process.stdout.readline())
        assert kind in ("", "ModelError"), said
        assert (seen, heavy) == ([], [])
        return code, said

    ask(whole)
    with process:
        yield ask
        process.terminate()


@pytest.fixture
def refused(inspector, canary) -> Iterator[Refused]:
    """The message with which a path is refused, with one of the codes."""

    def ask(path: Path, *codes: str) -> str:
        code, said = inspector(path)
        assert code in codes, said
        return said

    yield ask
    assert not canary.exists()


def keras_archive(config: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
    return data.getvalue()


GADGETS: dict[str, dict[str, Any]] = {
    "row_01_a_lambda": {"class_name": "Lambda", "config": {"function": "touch"}},
    "row_02_any_function_of_any_module": {"module": "subprocess", "class_name": "run"},
    "row_03_get_file": {"module": "keras.utils", "class_name": "get_file"},
    "row_04_unsafe_deserialization_first": {"class_name": "enable_unsafe_deserialization"},
    "row_05_torch_module_wrapper": {"class_name": "TorchModuleWrapper"},
    "row_06_a_saved_model_within": {"class_name": "TFSMLayer", "config": {"filepath": "/x"}},
    "row_07_a_vocabulary_that_is_a_path": {
        "class_name": "StringLookup",
        "config": {"vocabulary": "/etc/passwd"},
    },
}


@pytest.mark.parametrize("name", GADGETS)
def test_keras_archives_are_refused_by_name_and_by_their_first_bytes(folder, name, refused):
    archive = keras_archive(GADGETS[name])
    (folder / "model.keras").write_bytes(archive)
    refused(folder, "MODEL_KERAS_FILE")
    (folder / "model.keras").rename(folder / "model.safetensors")
    refused(folder, "MODEL_DISGUISED")


@pytest.mark.parametrize("name", ["weights.h5", "model.weights.hdf5", "x.H5"])
def test_row_08_hdf5_files_are_refused_wherever_they_point(folder, name, refused):
    import h5py

    with h5py.File(folder / name, "w") as file:
        file["external"] = h5py.ExternalLink("/etc/passwd", "/")
    refused(folder, "MODEL_KERAS_FILE")
    (folder / name).rename(folder / "model.safetensors")
    refused(folder, "MODEL_DISGUISED")


def test_row_09_a_shape_bomb_allocates_nothing(folder, refused):
    header = {"bomb": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}
    write_safetensors(folder / "model.safetensors", header, b"\0\0\0\0")
    assert "can't be read" in refused(folder, "MODEL_FILE_DAMAGED")


def test_row_09_a_config_that_asks_for_more_than_there_is_is_refused(folder, refused):
    config = json.loads((folder / "config.json").read_text())
    for key, value in (("num_hidden_layers", 2**50), ("hidden_size", 2**40), ("vocab_size", 2**45)):
        changed = {k: v for k, v in config.items() if k != "layer_types"} | {key: value}
        (folder / "config.json").write_text(json.dumps(changed))
        refused(folder, "MODEL_TENSOR_SHAPE", "MODEL_CONFIG")


def test_row_10_archives_are_not_unpacked(folder, canary, refused):
    with tarfile.open(folder / "weights.tar", "w") as archive:
        info = tarfile.TarInfo("../canary")
        archive.addfile(info, io.BytesIO())
    refused(folder, "MODEL_ARCHIVE")
    (folder / "weights.tar").rename(folder / "README.md")
    refused(folder, "MODEL_DISGUISED")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.PTH", "a.ckpt", "x.pkl"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_row_12_torch_pickles_are_refused(folder, canary, name, protocol, refused):
    (folder / name).write_bytes(pickle.dumps(Runs(canary), protocol))
    message = refused(folder, "MODEL_PICKLE")
    assert name in message
    (folder / name).rename(folder / "tokenizer.model")
    refused(folder, "MODEL_DISGUISED")


def test_row_12_an_old_pickle_under_another_name_is_read_as_what_it_says(folder, canary, refused):
    (folder / "config.json").write_bytes(pickle.dumps(Runs(canary), 0))
    refused(folder, "MODEL_FILE_DAMAGED")


def test_row_13_an_adapter_with_a_pickle_beside_it_is_refused(tmp_path, canary, refused):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (adapter / "value_head.bin").write_bytes(pickle.dumps(Runs(canary)))
    refused(adapter, "MODEL_PICKLE")
    (adapter / "value_head.bin").unlink()
    refused(adapter, "MODEL_FILE_MISSING")


def test_row_14_code_in_a_models_folder_is_refused(folder, canary, refused):
    (folder / "modeling.py").write_text(f"open({str(canary)!r}, 'w')")
    refused(folder, "MODEL_CODE")


def test_row_17_nothing_is_unpickled_on_the_way(folder, inspector):
    """The audit hook of `inspector` sees `pickle.find_class`; a whole model raises no event."""
    assert inspector(folder) == ("", "hf_folder")


@pytest.mark.parametrize("name", ["weights.npy", "weights.npz", "rows.pkl", "x.joblib"])
def test_row_18_numpy_and_joblib_files_are_refused(folder, canary, name, refused):
    np.save(folder / "a.npy", np.array([Runs(canary)], object), allow_pickle=True)
    (folder / "a.npy").rename(folder / name)
    refused(folder, "MODEL_PICKLE")
    (folder / name).rename(folder / "model.safetensors")
    refused(folder, "MODEL_DISGUISED")


TEMPLATE = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    "{% for c in ().__class__.__base__.__subclasses__() %}{{ c('touch CANARY') }}{% endfor %}"
)


def test_row_20_chat_templates_are_not_rendered(folder, canary, inspector):
    bad = TEMPLATE.replace("CANARY", str(canary))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": bad}))
    (folder / "chat_template.jinja").write_text(bad)
    assert inspector(folder) == ("", "hf_folder")
    assert not canary.exists()


def test_row_20_a_gguf_template_is_not_rendered(tmp_path, canary, refused):
    bad = TEMPLATE.replace("CANARY", str(canary))
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes([("tokenizer.chat_template", bad)]))
    assert "architecture" in refused(path, "MODEL_TYPE")


def gguf_bytes(entries: list[tuple[str, str]], *, count: int | None = None) -> bytes:
    data = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries) if count is None else count)
    for key, value in entries:
        data += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", 8)
        data += struct.pack("<Q", len(value)) + value.encode()
    return data


HEADERS = {
    "more entries than bytes": gguf_bytes([], count=2**63),
    "a text longer than the file": gguf_bytes([])[:16] + struct.pack("<QQ", 1, 2**62),
    "no end": gguf_bytes([("a", "b")])[:-3],
    "an array of texts without end": gguf_bytes([], count=1)
    + struct.pack("<Q1sIIQ", 1, b"a", 9, 8, 40),
    "an array within an array": gguf_bytes([], count=1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1),
    "version 99": struct.pack("<4sIQQ", b"GGUF", 99, 0, 0),
    "an alignment of 2**31": gguf_bytes([], count=1)
    + struct.pack("<Q17sII", 17, b"general.alignment", 4, 2**31),
    "a tensor of 2**32 dimensions": struct.pack("<4sIQQQ1sI", b"GGUF", 3, 1, 0, 1, b"a", 2**32 - 1),
}


@pytest.mark.parametrize("name", HEADERS)
def test_row_21_gguf_headers_that_lie_are_refused(tmp_path, name):
    path = tmp_path / "model.gguf"
    path.write_bytes(HEADERS[name])
    with pytest.raises(ModelError) as caught:
        inspect_model(path)
    assert caught.value.code in ("MODEL_FILE_DAMAGED", "MODEL_TYPE")


@pytest.mark.timeout(20)
def test_row_21_an_array_of_more_texts_than_have_room_is_not_read(tmp_path):
    """Each text takes eight bytes at least; 2**29 of them don't go into 2 GiB."""
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.write(gguf_bytes([], count=1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 8, 2**29))
        file.truncate(2**31)
    with pytest.raises(ModelError) as caught:
        inspect_model(path)
    assert caught.value.code == "MODEL_FILE_DAMAGED"


def write_safetensors(path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tensor(start: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]} | changes


BAD_HEADERS: dict[str, tuple[dict[str, Any], int]] = {
    "tensors that overlap": ({"a": tensor(0, 8), "b": tensor(4, 12)}, 12),
    "two tensors in one place, and a hole": ({"a": tensor(0, 8), "b": tensor(0, 8)}, 16),
    "a gap": ({"a": tensor(0, 8), "b": tensor(12, 16)}, 16),
    "bytes after the last": ({"a": tensor(0, 8)}, 12),
    "too few bytes": ({"a": tensor(0, 8)}, 4),
    "a negative start": ({"a": tensor(-8, 0)}, 8),
    "a negative size": ({"a": tensor(0, 8, shape=[-2])}, 8),
    "a size beyond 64 bits": ({"a": tensor(0, 8, shape=[2**64, 2**64])}, 8),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, 8),
    "a shape of texts": ({"a": tensor(0, 8, shape=["x"])}, 8),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_safetensors_headers_that_lie_are_refused(folder, name):
    header, size = BAD_HEADERS[name]
    write_safetensors(folder / "model.safetensors", header, b"\0" * size)
    with pytest.raises(ModelError) as caught:
        inspect_model(folder)
    assert caught.value.code == "MODEL_FILE_DAMAGED"


@pytest.mark.parametrize("content", [b"", b"\0" * 7, struct.pack("<Q", 2**63) + b"{}", b"[" * 9000])
def test_files_that_are_no_safetensors_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        inspect_model(folder)
    assert caught.value.code == "MODEL_FILE_DAMAGED"


@pytest.mark.parametrize("file", ["config.json", "tokenizer.model", "model.safetensors"])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"\xff\xfe\x00", b"{}", b"null", b'{"a": NaN}']
)
def test_whatever_bytes_a_file_has_the_answer_is_one_clear_error(folder, file, content):
    data = content
    if file == "model.safetensors":
        data = struct.pack("<Q", len(content)) + content
    (folder / file).write_bytes(data)
    with pytest.raises(ModelError):
        inspect_model(folder)


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "config.json", "nowhere"])
def test_links_are_not_followed(folder, target, refused):
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "README.md").symlink_to(target)
    refused(folder, "MODEL_FILE")


def test_a_pipe_does_not_hang_the_reader(folder, refused):
    import os

    os.mkfifo(folder / "notes.txt")
    refused(folder, "MODEL_FILE")


def test_a_folder_within_the_folder_is_refused(folder, refused):
    (folder / "more").mkdir()
    refused(folder, "MODEL_FILE")


def test_a_whole_model_is_described(folder):
    found = inspect_model(folder)
    assert found["kind"] == "hf_folder"
    assert found["dtypes"] == ["float32"]
    assert found["config"]["layers"] == 2
    assert found["vocab_size"] == 400
    assert found["tensor_count"] == len(found["tensors"]) == 2 + 2 * 13
    assert found["parameters"] == sum(int(np.prod(t["shape"])) for t in found["tensors"])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.slow
def test_the_demo_model_passes():
    from gemma_keras_tune.model.demo import demo_file

    found = inspect_model(demo_file()[0])
    assert found["kind"] == "gguf"
    assert found["parameters"] == 268_098_176
    assert found["vocab_size"] == 262_144

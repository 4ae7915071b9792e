"""What our kernels for a GPU take of it, compiled for GPUs that aren't there.

    pip install --no-deps triton==3.9.0
    python -m tests.bench.kernels

Prints one Markdown table: registers of a thread, bytes of them that are spilled to memory, and
kilobytes that a program shares. JAX lowers attention and its gradients to Triton's language, Triton
compiles that for each compute capability, and NVIDIA's `cuobjdump`, which comes with it, tells. XLA
compiles the same with a Triton of its own, so this is near to what a GPU would run, not the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

CAPABILITIES = {80: "A100", 89: "L4, RTX 40", 90: "H100", 100: "B200", 120: "RTX 50"}
HEADS: dict[str, tuple[int, int, float | None]] = {
    "256 (Gemma 1, Gemma 3)": (256, 64, None),
    "256, capped (Gemma 2)": (256, 64, 50.0),
    "128 (Gemma 3 27B)": (128, 64, None),
    "128, capped (Gemma 2 27B)": (128, 64, 50.0),
    "512 (Gemma 4)": (512, 32, None),
}
"""Size of a head, tokens of a block, cap."""
SHARED_LIMIT = 101_376
"""Bytes that a program may share on the least of them (NVIDIA, CUDA C++ programming guide)."""


def main() -> None:
    """Print the table."""
    if find_spec("triton") is None:
        sys.exit("Triton is missing: pip install --no-deps triton==3.9.0")
    warnings.filterwarnings("ignore", category=UserWarning, module="triton")
    print("| head | kernel | " + " | ".join(CAPABILITIES.values()) + " |")
    print("|---|---|" + "---|" * len(CAPABILITIES), flush=True)
    for name, (head_dim, block, softcap) in HEADS.items():
        for kernel, text in kernels(head_dim, block, softcap):
            cells = " | ".join(taken(text, capability) for capability in CAPABILITIES)
            print(f"| {name} | `{kernel}` | {cells} |", flush=True)


def kernels(head_dim: int, block: int, softcap: float | None) -> Iterator[tuple[str, str]]:
    """Name and text of each kernel, for two rows of 2,048 tokens, 8 heads on 4 of keys."""
    import jax
    import jax.numpy as jnp

    from gemma_keras_tune.model.blockwise import BlockSettings, Places
    from gemma_keras_tune.model.fused import fused_attention

    settings = BlockSettings(block=block, window=512, softcap=softcap)

    def weighed(q: Any, k: Any, v: Any, places: Places, is_local: Any) -> Any:
        out = fused_attention(q, k, v, places=places, is_local=is_local, settings=settings)
        return out.astype(jnp.float32).sum()

    query, key = (
        jax.ShapeDtypeStruct((2, 2048, heads, head_dim), jnp.bfloat16) for heads in (8, 4)
    )
    index: Any = jax.ShapeDtypeStruct((2, 2048), jnp.int32)
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        traced = jax.jit(jax.grad(weighed, (0, 1, 2))).trace(
            query, key, key, Places(index, index), jax.ShapeDtypeStruct((), bool)
        )
        module = traced.lower(lowering_platforms=("cuda",)).compiler_ir()
    yield from texts(module)


def texts(module: Any) -> Iterator[tuple[str, str]]:
    """Name and text of the kernels that a lowered program calls."""
    from jaxlib.mlir import ir
    from jaxlib.triton import dialect

    found: dict[str, bytes] = {}

    def look(operation: Any) -> Any:
        if operation.name == "stablehlo.custom_call":
            config = ir.DictAttr(operation.attributes["mhlo.backend_config"])
            found[ir.StringAttr(config["name"]).value] = ir.StringAttr(config["ir"]).value_bytes
        return ir.WalkResult.ADVANCE

    module.operation.walk(look)
    with ir.Context() as context:
        dialect.register_dialect(context)
        for name, code in found.items():
            yield name, str(ir.Module.parse(code))


def taken(text: str, capability: int) -> str:
    """Registers of a thread, bytes of them that are spilled, kilobytes of shared memory."""
    import triton
    from triton.backends.compiler import GPUTarget

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ttir"
        path.write_text(text)
        compiled = triton.compile(
            str(path), target=GPUTarget("cuda", capability, 32),
            options={"num_warps": 8, "num_stages": 2},
        )  # fmt: skip
        (Path(folder) / "kernel.cubin").write_bytes(compiled.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        told = subprocess.run(
            [tool, "-res-usage", Path(folder) / "kernel.cubin"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    registers, spilled = re.findall(r"REG:(\d+) STACK:(\d+)", told)[0]
    shared = compiled.metadata.shared
    over = " (too much)" if shared > SHARED_LIMIT else ""
    return f"{registers}, {spilled}, {shared / 1024:.0f}{over}"


if __name__ == "__main__":
    main()

"""What can't be computed from sizes, measured once: peaks of whole runs of Gemma 3 270M.

Two cores of an AMD EPYC machine, Linux, Python 3.11, jax 0.10.2, 2026-11-22; each stage's own
highest resident memory (`VmHWM`, set back between stages) less the arrays that are known.
Past runs on the machine at hand correct what is different there: see `history`.
"""

from __future__ import annotations

from ..data.scratch import IN_MEMORY_BYTES

PROGRAM_BYTES = {"cpu": 190_000_000, "gpu": 1_500_000_000, "tpu": 1_500_000_000}
"""Interpreter, libraries and JAX's client. The accelerators' figures are a guess, not measured."""

TOKENIZER_PIECE_BYTES = 540
"""Of each piece of the vocabulary: texts, SentencePiece's own table and the file's header."""

DATA_FACTOR = 8
"""Bytes of memory for a byte of small data files: texts, turns, token ids."""

DATA_IN_MEMORY = 3 * IN_MEMORY_BYTES
"""Rows, ids and masks that are more lie in files."""

DATA_PLACES = 0.2
"""Bytes of memory for a byte of large data files: a hundred for each row, about."""

HELD_BACK_FACTOR = 15
"""Bytes of memory for a byte of the rows that the report is about, while it is made."""

LOADING_BYTES = 30_000_000
"""Blocks of the file, and its parsed header, while weights are read."""

COMPILED_BYTES = {"training": 440_000_000, "evaluation": 500_000_000, "export": 580_000_000}
"""What compiling leaves in the process by the end of each stage."""

EXPORT_LOGITS = 425
"""Positions whose logits are in memory at once while an export is compared."""

CONSUMER_BYTES = 350_000_000
"""torch and transformers, imported."""

CONSUMER_WEIGHT_COPIES = 2
"""How often the consumer has the weights, in float32: read and cast, or live and merged."""

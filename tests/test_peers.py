"""A process by itself leads and agrees with itself; finding the others fails clearly."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gemma_keras_tune import peers
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.model.sharding import by_itself
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.command_line import ROOT
from tests.support.tiny_runs import tiny_model


def test_a_process_by_itself_leads_and_is_given_back_what_it_gives(
    tiny_tokenizer: Tokenizer,
) -> None:
    assert peers.is_alone() and peers.leads()
    assert peers.agreed({"a": [1, None]}) == {"a": [1, None]}
    assert peers.in_all(7) == [7]
    arrays = [np.array([-0.0, np.nan], np.float32)]
    assert peers.shared(arrays) is arrays
    model = tiny_model(tiny_tokenizer)
    assert by_itself(model) is model
    peers.leave()


def test_nobody_to_be_found_is_told_with_what_to_say() -> None:
    script = (
        "from gemma_keras_tune.errors import TuneError\n"
        "from gemma_keras_tune.peers import Meeting, join\n"
        "try:\n    join(Meeting())\n"
        "except TuneError as error:\n    print(error.code, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.stdout.startswith("PEERS_UNKNOWN"), done.stderr
    assert "--coordinator HOST:PORT" in done.stdout


def test_a_place_to_meet_without_a_port_is_refused() -> None:
    with pytest.raises(TuneError, match="no HOST:PORT") as refused:
        peers.join(peers.Meeting(coordinator="10.0.0.1", processes=2, process=0))
    assert refused.value.code == "PEERS_UNKNOWN"

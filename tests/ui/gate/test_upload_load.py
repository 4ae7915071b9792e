"""The bench of uploads with a smaller file: memory stays flat."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.upload import measured


@pytest.mark.slow
def test_an_upload_of_256_mib_costs_less_than_64_mb(tmp_path: Path) -> None:
    found = measured(tmp_path, size=256 * 2**20)
    assert found.growth < 64e6
    assert len(found.waits_s) > 10

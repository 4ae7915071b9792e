"""Numbers as a reader writes them: shown whole, and read back as they are typed."""

from __future__ import annotations

from datetime import UTC

import pytest
from babel import Locale

from gemma_keras_tune_ui.reader import Reader

ENGLISH, GERMAN = (Reader(Locale(name), UTC) for name in ("en", "de"))


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [(2e-5, "0.00002", "0,00002"), (300.0, "300", "300"), (12, "12", "12"), (1.5, "1.5", "1,5")],
)
def test_a_setting_is_shown_with_all_its_digits(value: float, english: str, german: str) -> None:
    assert (ENGLISH.plain(value), GERMAN.plain(value)) == (english, german)
    assert ENGLISH.typed(english) == GERMAN.typed(german) == value


def test_a_number_is_typed_with_the_reader_s_own_sign_or_a_point() -> None:
    assert (GERMAN.typed("0,0001"), GERMAN.typed("1e-4"), ENGLISH.typed(" ")) == (1e-4, 1e-4, None)
    assert type(ENGLISH.typed("7")) is int
    for reader, text in ((ENGLISH, "0,0001"), (GERMAN, "1.000,5"), (ENGLISH, "fast")):
        with pytest.raises(ValueError, match="could not convert"):
            reader.typed(text)

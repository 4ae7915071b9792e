"""docs/identity.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from gemma_keras_tune_ui.identity.access import RULES, Role
from gemma_keras_tune_ui.identity.passwords import SHORTEST
from gemma_keras_tune_ui.identity.sessions import IDLE, LONGEST

PAGE = Path(__file__).parents[3] / "docs" / "identity.md"


def table() -> str:
    """The table of `RULES`, as the page must have it."""
    names = [role.label for role in Role]
    lines = [f"| action | what | {' | '.join(names)} | token's scope |", "|---" * 7 + "|"]
    for action, rule in RULES.items():
        cells = ["yes" if rule.role and role >= rule.role else "" for role in Role]
        what = rule.what if rule.role else f"{rule.what} (server administrators)"
        scope = rule.scope or "*never*"
        lines.append(" | ".join([f"| `{action}`", what, *cells, f"{scope} |"]))
    return "\n".join(lines).replace("|  |", "| |").replace("|  |", "| |")


def test_the_table_of_roles_is_the_code() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), f"the table must be:\n{table()}"


def test_the_figures_are_the_code() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"At least {SHORTEST} characters" in text
    assert f"after {IDLE.total_seconds() / 3600:.0f} hours without use" in text
    assert f"after {LONGEST.total_seconds() / 3600:.0f} hours in any case" in text

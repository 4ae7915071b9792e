"""The texts of the page `/help`."""

from __future__ import annotations

TITLE = "Help"
LEAD = "The terms of the trade, in plain words."

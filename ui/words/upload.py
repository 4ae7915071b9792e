"""The texts of the place to upload rows at; its script shows them, with its own figures."""

from __future__ import annotations

from types import MappingProxyType

_SHEET = (
    "A spreadsheet must be saved as CSV first. In Excel: File, Save as, “CSV UTF-8”. In "
    "Google Sheets: File, Download, CSV."
)
TEXTS = MappingProxyType(
    {
        "choose": "Choose a file",
        "drop": "or drop it here",
        "kinds": "CSV, TSV or JSON lines (one object a line), up to {size}",
        "sheet": _SHEET,
        "input": "File with your rows",
        "paste": "Paste rows instead",
        "file": "Upload a file instead",
        "pasted": "Rows, the first line with the names of the columns",
        "example": "text,label\nWin a prize now,spam\nLunch at noon?,ham",
        "title": "What to call it",
        "untitled": "Pasted rows",
        "use": "Use these rows",
        "sending": "Uploading {name}",
        "progress": "{sent} of {size}",
        "left": "about {time} left",
        "waiting": "The connection is lost. It goes on from here once the server answers.",
        "resumed": "Going on from where the last upload of this file stopped.",
        "finishing": "All is there. The server checks the file.",
        "cancel": "Cancel",
        "wrong_type": (f"{{name}} can't be used: take a file that ends in {{kinds}}. {_SHEET}"),
        "too_large": "{name} has {size}; at most {most} are taken. Take a part of the rows.",
        "empty": "{name} is empty.",
        "nothing": "Paste some rows first.",
        "failed": "The server could not take the file ({status}). Try again later.",
        "leave": "An upload is under way.",
    }
)

"""Choosing, dropping or pasting rows: a small script sends them and opens what came of it."""

from __future__ import annotations

from nicegui import ui

from ...gate.upload_files import DATA_SUFFIXES
from ...words import upload as words
from ..visit import Visit


class Upload(ui.element, component="upload.js"):
    """The place to choose a file at; what is sent goes through `/api/v1/uploads`.

    Args:
        visit: The page; the server's limits and the reader's locale are taken from it.
        target: The page that is opened then, up to the data set's id.
    """

    def __init__(self, visit: Visit, *, target: str = "/data/") -> None:
        super().__init__()
        limits = visit.parts.uploads.limits
        self.props["words"] = dict(words.TEXTS)
        self.props["kinds"] = list(DATA_SUFFIXES)
        self.props["most"] = limits.file_bytes
        self.props["piece"] = limits.chunk_bytes
        self.props["locale"] = str(visit.reader.locale).replace("_", "-")
        self.props["target"] = target

"""The page of the glossary, which the web app shows too."""

from __future__ import annotations

from gemma_keras_tune_ui.words.glossary import TERMS

_INTRO = """\
# Glossary

The terms of the trade in plain words, as the web app explains them where it uses them."""


def page() -> str:
    """The page as Markdown."""
    terms = sorted(TERMS.values(), key=lambda term: term.name.lower())
    return "\n\n".join([_INTRO, *(f"**{term.name}.** {term.plain}" for term in terms)])

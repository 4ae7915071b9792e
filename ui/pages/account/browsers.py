"""Which browser on which system somebody uses, from what it calls itself."""

from __future__ import annotations

from ...words import account as words

# The first whose sign is there: nearly all name others, too, to be taken for them.
_BROWSERS = (
    ("Edge", ("Edg/", "EdgA/", "EdgiOS/")),
    ("Opera", ("OPR/",)),
    ("Samsung Internet", ("SamsungBrowser/",)),
    ("Firefox", ("Firefox/", "FxiOS/")),
    ("Chrome", ("Chrome/", "CriOS/", "Chromium/")),
    ("Safari", ("Safari/",)),
)
_SYSTEMS = (
    ("Android", ("Android",)),
    ("iPhone", ("iPhone",)),
    ("iPad", ("iPad",)),
    ("Windows", ("Windows",)),
    ("ChromeOS", ("CrOS",)),
    ("macOS", ("Mac OS X", "Macintosh")),
    ("Linux", ("Linux", "X11")),
)


def browser_name(agent: str) -> str:
    """Such as "Firefox on Linux"; what isn't known is said to be so.

    Args:
        agent: The `User-Agent`.
    """
    browser, system = _first(_BROWSERS, agent), _first(_SYSTEMS, agent)
    if browser and system:
        return words.BROWSER_ON.format(browser=browser, system=system)
    return browser or words.UNKNOWN_BROWSER


def _first(known: tuple[tuple[str, tuple[str, ...]], ...], agent: str) -> str:
    return next((name for name, signs in known if any(sign in agent for sign in signs)), "")

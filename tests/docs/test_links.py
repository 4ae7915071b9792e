"""Links inside the repository lead somewhere."""

import re

import pytest

from tests.docs.pages import OTHER_PAGES, PAGES, ROOT, text_of

_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]+)\)")


def _anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES])
def test_every_relative_link_leads_somewhere(page):
    for link in _LINK.findall(re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in _anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.endswith(".md"):
            continue
        reached.add(page)
        for link in _LINK.findall(text_of(page)):
            target = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            if target.is_relative_to(ROOT) and target.is_file():
                waiting.append(str(target.relative_to(ROOT)))
    assert set(PAGES) <= reached

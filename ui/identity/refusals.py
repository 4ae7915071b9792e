"""What the app refuses, each with the HTTP status that says so."""

from __future__ import annotations

from gemma_keras_tune.errors import TuneError


class Refusal(TuneError):
    """Something that this person may not do, or not now.

    Attributes:
        status: The HTTP status of the answer.
    """

    status = 400


class SignInFailed(Refusal):
    """Nobody was signed in, and the text doesn't say more than a stranger may know."""

    status = 401


class Forbidden(Refusal):
    """Whoever asks is known, and their role or their token doesn't allow it."""

    status = 403


class NotFound(Refusal):
    """There is no such thing, or it is another workspace's: nobody learns which."""

    status = 404


class TooManyRequests(Refusal):
    """A rate limit was reached.

    Attributes:
        retry_after_s: Whole seconds until another try may work, for the header `Retry-After`.
    """

    status = 429

    def __init__(self, message: str, *, code: str, retry_after_s: int) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


def check_id(text: str, what: str = "This") -> str:
    """`text` if it can be the id of something.

    Raises:
        NotFound: If no id looks so; a database might not even take it as a value.
    """
    if not text.isprintable() or len(text) > 200:
        raise not_found(what)
    return text


def not_found(what: str = "This") -> NotFound:
    """The one answer for a thing that isn't there and for a thing of another workspace."""
    return NotFound(f"{what} doesn't exist in this workspace.", code="NOT_FOUND")

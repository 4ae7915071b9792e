"""Where the server's keys live: files that only its user can read, or the environment.

Three keys, each with one use: `vault` encrypts secrets (and is the only one that is rotated),
`audit` chains the audit log, `cookie` signs cookies. They are made at the first start. A key in the
environment wins over its file.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet

from gemma_keras_tune.durable import fsync_folder, write_all
from gemma_keras_tune.errors import TuneError

VAULT_VARIABLE = "GEMMA_KERAS_TUNE_VAULT_KEYS"
AUDIT_VARIABLE = "GEMMA_KERAS_TUNE_AUDIT_KEY"
COOKIE_VARIABLE = "GEMMA_KERAS_TUNE_COOKIE_KEY"

_MAKE_ONE = (
    "Make one with: python -c 'import base64, os; "
    "print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
)
_LEAST_DISTINCT = 12  # of 32 random bytes about 30 differ; fewer than 12 happens never


@dataclass(frozen=True)
class VaultKeys:
    """The keys of the vault, read anew at each use, so that a rotation reaches a running server.

    Attributes:
        path: The file, one key a line, the newest first.
        fixed: What the environment said instead; it can't be rotated from here.
    """

    path: Path
    fixed: str = field(default="", repr=False)

    def current(self) -> tuple[bytes, ...]:
        """The keys, the newest first: it encrypts, all of them decrypt.

        Raises:
            TuneError: `KEY_WEAK`, `KEY_READABLE`, `KEY_UNUSABLE`.
        """
        if self.fixed:
            return tuple(_checked(key, VAULT_VARIABLE) for key in self.fixed.split(","))
        lines = _read(self.path).split() or [""]
        return tuple(_checked(key, str(self.path)) for key in lines)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Writes the file anew, whole and for this user only.

        Raises:
            TuneError: `KEY_IN_ENVIRONMENT` if the keys don't come from the file.
        """
        if self.fixed:
            raise TuneError(
                f"The vault's keys come from the variable {VAULT_VARIABLE}, which a program can't "
                "change. Put a new key before the old one there (comma between), start the "
                "server, rotate, and take the old one out.",
                code="KEY_IN_ENVIRONMENT",
            )
        temporary = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}")
        _write_new(temporary, b"\n".join(keys) + b"\n")
        os.replace(temporary, self.path)
        fsync_folder(self.path.parent)


@dataclass(frozen=True)
class Keys:
    """All keys of a server."""

    vault: VaultKeys
    audit: bytes = field(repr=False)
    cookie: bytes = field(repr=False)


def load_keys(folder: Path, environ: Mapping[str, str]) -> Keys:
    """The keys of a data root; those that aren't there yet are made.

    Args:
        folder: `secrets` in the data root.
        environ: The environment.

    Raises:
        TuneError: `KEY_READABLE` if others can read the folder or a file, `KEY_WEAK` if a key was
            typed rather than made, `KEY_UNUSABLE` if it can't be read or isn't a key.
    """
    _prepare(folder)
    vault = VaultKeys(folder / "vault.keys", environ.get(VAULT_VARIABLE, "").strip())
    if not vault.fixed:
        _make_if_missing(vault.path)
    vault.current()
    return Keys(
        vault=vault,
        audit=_one(folder / "audit.key", environ, AUDIT_VARIABLE),
        cookie=_one(folder / "cookie.key", environ, COOKIE_VARIABLE),
    )


def _one(path: Path, environ: Mapping[str, str], variable: str) -> bytes:
    if text := environ.get(variable, "").strip():
        return base64.urlsafe_b64decode(_checked(text, variable))
    _make_if_missing(path)
    return base64.urlsafe_b64decode(_checked(_read(path).strip(), str(path)))


def _prepare(folder: Path) -> None:
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        found = folder.lstat()
    except OSError as error:
        raise _unusable(folder, str(error)) from error
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(folder, "it isn't a folder")
    _refuse_others(folder, found)


def _make_if_missing(path: Path) -> None:
    """Makes a key file, whole or not at all; of two servers that try, one makes it."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        if os.path.lexists(path):
            return
        _write_new(temporary, Fernet.generate_key() + b"\n")
        with suppress(FileExistsError):
            os.link(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        raise _unusable(path, str(error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write_new(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        link = error.errno == errno.ELOOP
        raise _unusable(path, "it is a symbolic link" if link else str(error)) from error
    try:
        _refuse_others(path, os.fstat(handle))
        return os.read(handle, 65_536).decode("ascii", errors="replace")
    finally:
        os.close(handle)


def _refuse_others(path: Path, found: os.stat_result) -> None:
    if found.st_mode & 0o077 or found.st_uid != os.geteuid():
        mode = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise TuneError(
            f"Others can read {path}, which holds the server's keys (mode "
            f"{stat.S_IMODE(found.st_mode):o}, user {found.st_uid}). Make it yours alone: "
            f"chmod {mode} {path}",
            code="KEY_READABLE",
        )


def _checked(text: str | bytes, where: str) -> bytes:
    """The key as Fernet wants it.

    Raises:
        TuneError: `KEY_UNUSABLE` or `KEY_WEAK`.
    """
    key = text.strip() if isinstance(text, bytes) else text.strip().encode("ascii", "replace")
    try:
        raw = base64.b64decode(key, altchars=b"-_", validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise TuneError(
            f"{where} doesn't hold a key: 32 bytes in URL-safe base64. {_MAKE_ONE}",
            code="KEY_UNUSABLE",
        )
    if len(set(raw)) < _LEAST_DISTINCT or all(32 <= byte < 127 for byte in raw):
        raise TuneError(
            f"The key in {where} looks typed, or copied from an example. {_MAKE_ONE}",
            code="KEY_WEAK",
        )
    return key


def _unusable(path: Path, why: str) -> TuneError:
    return TuneError(f"The keys in {path} can't be used: {why}.", code="KEY_UNUSABLE")

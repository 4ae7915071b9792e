"""The server's settings: every one with its default, bounds and help, in one frozen value.

They come from the command line, the environment and a TOML file, the first of these that names
one; `settings_sources.read_settings` puts them together.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gemma_keras_tune.run_folder import data_root

ENVIRONMENT_PREFIX = "GEMMA_KERAS_TUNE_"
SECTION_MARK = "__"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

Names = Annotated[tuple[str, ...], NoDecode]
"""Several names; in the environment with commas between them."""


def _comma_separated(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class _Section(BaseModel):
    """Frozen, with unknown keys and infinities refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DatabaseSettings(_Section):
    """The database. By default a SQLite file in the data root."""

    url: SecretStr | None = None
    """`postgresql+asyncpg://USER@HOST/NAME`, or `sqlite+aiosqlite:///PATH`."""
    password_file: Path | None = None
    """A file with the database's password, so that the URL needs none."""


class TlsSettings(_Section):
    """The server's own TLS. Leave it out behind a proxy that speaks TLS."""

    certificate: Path | None = None
    """The certificate and the chain above it, PEM."""
    key: Path | None = None
    """The certificate's private key, PEM, without a password."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: give both, or neither")
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise ValueError(f"certificate and key: there is no file {path}")
        return self


class SessionSettings(_Section):
    """How long somebody stays signed in."""

    idle_minutes: int = Field(default=480, ge=5, le=7 * 24 * 60, json_schema_extra={"unit": "min"})
    """A session ends when nothing was asked for so long."""
    absolute_hours: int = Field(default=24, ge=1, le=30 * 24, json_schema_extra={"unit": "h"})
    """A session ends so long after signing in, whatever was done."""


class UploadSettings(_Section):
    """What may be uploaded."""

    file_bytes: int = Field(
        default=5 * 2**30, ge=2**10, le=2**40, json_schema_extra={"unit": "bytes"}
    )
    """The largest file."""
    user_bytes: int = Field(
        default=20 * 2**30, ge=2**10, le=2**44, json_schema_extra={"unit": "bytes"}
    )
    """All files of one person together."""
    user_files: int = Field(default=100, ge=1, le=100_000)
    """How many files one person may have."""


class JobSettings(_Section):
    """What may run at the same time, and how much it may take."""

    slots: int | None = Field(default=None, ge=1, le=64)
    """How many jobs that compute (train, evaluate, generate, export) run at once; by default one
    on each GPU, one on a TPU host, or one on a machine with neither."""
    data_workers: int = Field(default=2, ge=1, le=64)
    """How many data jobs run at once."""
    data_memory_bytes: int = Field(
        default=3 * 2**29, ge=2**27, le=2**40, json_schema_extra={"unit": "bytes"}
    )
    """The memory that one data job may take."""
    data_seconds: int = Field(default=600, ge=1, le=24 * 3600, json_schema_extra={"unit": "s"})
    """The time that one data job may take."""
    user_running: int = Field(default=4, ge=1, le=1000)
    """How many jobs of one person may run at once, where no quota says otherwise."""
    user_queued: int = Field(default=200, ge=1, le=100_000)
    """How many jobs of one person may wait, where no quota says otherwise."""
    disk_reserve_bytes: int = Field(
        default=2**30, ge=2**20, le=2**44, json_schema_extra={"unit": "bytes"}
    )
    """With less free disk than this no job is started, and the server says that it isn't ready."""


class BackupSettings(_Section):
    """Copies of a SQLite database, made while the server runs. PostgreSQL has `pg_dump`."""

    every_hours: float = Field(default=1.0, gt=0, le=7 * 24, json_schema_extra={"unit": "h"})
    """The time between two copies."""
    keep: int = Field(default=24, ge=1, le=10_000)
    """How many copies are kept."""


class OidcSettings(_Section):
    """Single sign-on with OpenID Connect. On as soon as an issuer is named."""

    issuer: str | None = None
    """The provider's address, as in its discovery document."""
    client_id: str | None = None
    """This server's id at the provider."""
    client_secret: SecretStr | None = None
    """This server's secret at the provider."""
    client_secret_file: Path | None = None
    """A file with that secret, instead of the secret itself."""
    domains: Names = ()
    """Verified e-mail addresses must end in one of these; empty: any may."""
    creates_accounts: bool = False
    """Whether somebody new gets an account; else an administrator makes it first."""
    new_role: Literal["viewer", "editor", "admin"] = "viewer"
    """The role of a new account in the first workspace."""
    name: str = Field(default="single sign-on", min_length=1, max_length=40)
    """What the button says: "Sign in with …"."""

    _split = field_validator("domains", mode="before")(_comma_separated)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.issuer is None:
            return self
        if not self.issuer.startswith("https://") and not is_loopback_url(self.issuer):
            raise ValueError("issuer: must begin with https://")
        if self.client_id is None:
            raise ValueError("client_id: is missing, and an issuer is named")
        if self.client_secret is None and self.client_secret_file is None:
            raise ValueError("client_secret or client_secret_file: one is needed with an issuer")
        if self.creates_accounts and not self.domains:
            raise ValueError("creates_accounts: needs domains, or everybody there could come in")
        return self


class NoticeSettings(_Section):
    """How people are told that their work has ended, failed or stands still."""

    stalled_minutes: float = Field(
        default=10.0, gt=0, le=24 * 60, json_schema_extra={"unit": "min"}
    )
    """Work that said nothing for so long is told to stand still."""
    mail_host: str | None = Field(default=None, min_length=1, max_length=253)
    """The mail server that e-mail goes through; without one none is sent."""
    mail_port: int = Field(default=587, ge=1, le=65_535)
    """Its port."""
    mail_security: Literal["starttls", "ssl", "none"] = "starttls"
    """How the connection is encrypted; `none` only for a mail server on this machine."""
    mail_sender: str | None = Field(default=None, min_length=3, max_length=254)
    """Whom e-mail is from, such as `tune@example.org`."""
    mail_user: str | None = Field(default=None, min_length=1, max_length=254)
    """The name to sign in with at the mail server, if it asks for one."""
    mail_password: SecretStr | None = None
    """Likewise its password."""
    mail_password_file: Path | None = None
    """A file with that password, instead of the password itself."""
    webhook_hosts: Names = ()
    """Hosts in a private network that web hooks may go to all the same, also by plain HTTP."""

    _split = field_validator("webhook_hosts", mode="before")(_comma_separated)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.mail_host is None:
            return self
        if self.mail_sender is None:
            raise ValueError("mail_sender: is missing, and a mail_host is named")
        if self.mail_security == "none" and not is_loopback_url(f"//{self.mail_host}"):
            raise ValueError("mail_security: only a mail server on this machine may go without")
        has_password = self.mail_password is not None or self.mail_password_file is not None
        if has_password != (self.mail_user is not None):
            raise ValueError("mail_user and its password: give both, or neither")
        return self


class LogSettings(_Section):
    """What is logged, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    format: Literal["auto", "json", "console"] = "auto"
    """One JSON object a line, or lines for people; `auto`: for people on a terminal."""


class Settings(BaseSettings):
    """Everything that the server goes by."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=SECTION_MARK,
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        validate_default=False,
    )

    root: Path = Field(
        default_factory=data_root, json_schema_extra={"shown": "~/.gemma-keras-tune"}
    )
    """The data root: runs, jobs, uploads and the database. The variable GEMMA_KERAS_TUNE_HOME names
    it for the command line too."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """The address that the server listens on."""
    port: int = Field(default=8080, ge=0, le=65_535)
    """The port; 0 takes a free one."""
    public_url: str | None = None
    """The address that people type, such as `https://tune.example.org`; needed behind a proxy."""
    allowed_hosts: Names = ()
    """More names under which the server may be asked for; that of `public_url` always may."""
    trusted_proxies: Names = ()
    """Addresses or networks of the proxies whose `X-Forwarded-For` and `-Proto` are believed."""
    database: DatabaseSettings = DatabaseSettings()
    tls: TlsSettings = TlsSettings()
    sessions: SessionSettings = SessionSettings()
    uploads: UploadSettings = UploadSettings()
    jobs: JobSettings = JobSettings()
    backup: BackupSettings = BackupSettings()
    oidc: OidcSettings = OidcSettings()
    notices: NoticeSettings = NoticeSettings()
    log: LogSettings = LogSettings()

    _split = field_validator("allowed_hosts", "trusted_proxies", mode="before")(_comma_separated)

    @field_validator("root")
    @classmethod
    def _in_full(cls, root: Path) -> Path:
        return root.expanduser().absolute()

    @field_validator("public_url")
    @classmethod
    def _an_origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _wrong("write it like https://tune.example.org")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise _wrong("a scheme, a host and perhaps a port; the app needs a host name to itself")
        return f"{parts.scheme}://{parts.netloc.lower()}"

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name or set(name) & set("/*@ "):
                raise _wrong("a host name is written like tune.example.org")
        return tuple(name.lower() for name in names)

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        networks = []
        for address in addresses:
            try:
                network = ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise _wrong("addresses are written like 10.0.0.2 or 10.0.0.0/24") from None
            if network.prefixlen == 0:
                raise _wrong("that is everybody; name the proxy's own address")
            networks.append(str(network))
        return tuple(networks)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: `read_settings` has put the sources together."""
        return (init_settings,)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host name under which the server may be asked for, without port."""
        public = (urlsplit(self.public_url).hostname or "",) if self.public_url else ()
        bound = () if _is_any(self.host) else (_bracketed(self.host),)
        return tuple(dict.fromkeys((*public, *self.allowed_hosts, *bound, *LOOPBACK_NAMES)))

    @property
    def is_https(self) -> bool:
        """Whether browsers come by TLS, so that cookies can be kept to it."""
        return self.tls.certificate is not None or (self.public_url or "").startswith("https://")


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{message}", {"message": message})


def is_loopback_url(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or _is_loopback_address(host)


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host.lower()

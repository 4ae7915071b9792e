"""Single sign-on with OpenID Connect: code flow with PKCE, state and nonce.

An account is found by (issuer, subject) and by nothing else: addresses change hands. What must be
remembered between leaving and coming back is in an encrypted cookie of ten minutes. Tokens of the
provider are read once and not kept.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.httpx_client.oauth2_client import httpx2  # or httpx, whichever is there
from authlib.oidc.core import CodeIDToken
from cryptography.fernet import Fernet, InvalidToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from gemma_keras_tune.errors import TuneError

from .access import Role
from .clock import Clock, utc_now
from .external import ExternalAccounts, ExternalPerson
from .people import User
from .refusals import SignInFailed
from .signing import derive

ALGORITHMS = ("RS256", "ES256")
FLOW_LASTS_S = 600
KEYS_LAST_S = 3600

_LEEWAY_S = 60
_TIMEOUT_S = 10.0
_NETWORK = (httpx2.HTTPError, httpx2.InvalidURL)
_FIELDS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class OidcConfig:
    """How this server is known to the provider, and whom it lets in.

    Attributes:
        issuer: The provider, exactly as in its discovery document.
        client_id: This server's id there.
        client_secret: This server's secret there.
        scopes: What is asked for.
        domains: Verified e-mail addresses must end in one of these; empty: any may.
        creates_accounts: Whether somebody new gets an account; else one must be made before.
        new_role: The role of a new account in the first workspace.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    domains: tuple[str, ...] = ()
    creates_accounts: bool = False
    new_role: Role = Role.VIEWER

    def __post_init__(self) -> None:
        host = urlsplit(self.issuer).hostname
        is_loopback = host in ("127.0.0.1", "::1", "localhost")
        if not self.issuer.startswith("https://") and not is_loopback:
            raise TuneError(
                f"The issuer {self.issuer!r} must begin with https://.", code="OIDC_CONFIG"
            )
        if self.creates_accounts and not self.domains:
            raise TuneError(
                "Single sign-on that creates accounts needs domains: else everybody who has an "
                f"account at {self.issuer} could come in.",
                code="OIDC_CONFIG",
            )


class Oidc:
    """Sends browsers to the provider, and takes them back.

    Args:
        config: The provider.
        key: The server's cookie key.
        accounts: Finds or makes the account.
        clock: The wall clock, which tokens end by.
    """

    def __init__(
        self,
        config: OidcConfig,
        key: bytes,
        accounts: ExternalAccounts,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._config, self._accounts, self._clock = config, accounts, clock
        self._flows = Fernet(base64.urlsafe_b64encode(derive(key, "oidc")))
        self._metadata: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        self._known_at: datetime | None = None

    async def begin(self, redirect_uri: str, next_path: str = "/") -> tuple[str, str]:
        """Where to send the browser, and the value of the cookie that it must bring back.

        The cookie must be HttpOnly and SameSite=Lax, and is deleted by the answer that ends it.

        Args:
            redirect_uri: Our callback, as registered at the provider.
            next_path: Where to go afterwards; anything but a path of ours becomes `/`.

        Raises:
            SignInFailed: `OIDC_UNREACHABLE`.
        """
        flow = {
            "state": secrets.token_urlsafe(32),
            "nonce": secrets.token_urlsafe(32),
            "verifier": secrets.token_urlsafe(48),
            "redirect_uri": redirect_uri,
            "next": local_path(next_path),
        }
        async with self._client(redirect_uri) as client:
            metadata = await self._load(client)
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=flow["state"],
                nonce=flow["nonce"],
                code_verifier=flow["verifier"],
            )
        now = int(self._clock().timestamp())
        return url, self._flows.encrypt_at_time(json.dumps(flow).encode(), now).decode()

    async def finish(
        self, cookie: str, query: Mapping[str, str], *, address: str = ""
    ) -> tuple[User, str]:
        """Who came back from the provider, and where they wanted to go.

        Args:
            cookie: What `begin` gave.
            query: The parameters of the callback.
            address: Where the request came from.

        Raises:
            SignInFailed: With a code that begins with `OIDC_`, or `NO_WORKSPACE`.
        """
        flow = self._flow(cookie)
        if not hmac.compare_digest(flow["state"].encode(), query.get("state", "").encode()):
            raise _failed("The answer doesn't belong to this browser's request.", "OIDC_STATE")
        if query.get("iss", self._config.issuer) != self._config.issuer:
            raise _failed("The answer comes from another provider.", "OIDC_ISSUER")
        if "error" in query or not query.get("code"):
            raise _failed("The provider didn't sign you in.", "OIDC_DENIED")
        async with self._client(flow["redirect_uri"]) as client:
            claims = await self._claims(client, query["code"], flow)
        person = self._person(claims)
        new_role = self._config.new_role if self._config.creates_accounts else None
        user = await self._accounts.enter(person, new_role=new_role, address=address)
        return user, flow["next"]

    def _flow(self, cookie: str) -> dict[str, str]:
        now = int(self._clock().timestamp())
        try:
            content = self._flows.decrypt_at_time(cookie.encode(), FLOW_LASTS_S, now)
        except InvalidToken as error:
            raise _failed("That took longer than ten minutes.", "OIDC_STATE") from error
        return dict(json.loads(content))

    async def _claims(
        self, client: AsyncOAuth2Client, code: str, flow: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """The checked claims of the ID token that the provider gives for a code."""
        metadata = await self._load(client)
        try:
            answer = await client.fetch_token(
                metadata["token_endpoint"], code=code, code_verifier=flow["verifier"]
            )
        except (OAuthError, *_NETWORK, ValueError) as error:
            raise _failed("The provider didn't accept its own answer.", "OIDC_DENIED") from error
        token = answer.get("id_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise _failed("The provider sent no identity.", "OIDC_TOKEN")
        try:
            decoded = await self._decoded(client, token)
            wanted = {
                "iss": {"essential": True, "value": self._config.issuer},
                "aud": {"essential": True, "value": self._config.client_id},
                "sub": {"essential": True},
                "nonce": {"essential": True},
            }
            given = {
                "nonce": flow["nonce"],
                "client_id": self._config.client_id,
                "access_token": answer.get("access_token"),
            }
            claims = CodeIDToken(decoded.claims, decoded.header, wanted, given)
            claims.validate(now=int(self._clock().timestamp()), leeway=_LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _failed("The provider's answer can't be trusted.", "OIDC_TOKEN") from error
        return dict(claims)

    async def _decoded(self, client: AsyncOAuth2Client, token: str) -> jwt.Token:
        """The token with a right signature, by a key that may be newer than those we know."""
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            return jwt.decode(token, KeySet.import_key_set(self._signing_keys()), registry=registry)
        except (JoseError, ValueError):
            await self._load(client, anew=True)
            return jwt.decode(token, KeySet.import_key_set(self._signing_keys()), registry=registry)

    def _signing_keys(self) -> Any:
        """The provider's public keys: a shared secret among them must not count."""
        keys = [key for key in self._keys["keys"] if key.get("kty") in ("RSA", "EC")]
        return {"keys": [key for key in keys if key.get("use", "sig") == "sig"]}

    def _person(self, claims: Mapping[str, Any]) -> ExternalPerson:
        verified = claims.get("email_verified") is True
        email = str(claims.get("email") or "").strip().lower() if verified else ""
        domains = tuple(domain.lower().lstrip("@") for domain in self._config.domains)
        if domains and email.rpartition("@")[2] not in domains:
            raise _failed(
                f"Only verified addresses at {', '.join(domains)} may come in.", "OIDC_DOMAIN"
            )
        return ExternalPerson(
            issuer=self._config.issuer,
            subject=str(claims["sub"]),
            email=email or None,
            name=str(claims.get("name") or ""),
        )

    def _client(self, redirect_uri: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._config.client_id,
            client_secret=self._config.client_secret,
            scope=" ".join(self._config.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            trust_env=True,
        )

    async def _load(self, client: AsyncOAuth2Client, *, anew: bool = False) -> dict[str, Any]:
        """The provider's discovery document; with its keys, read again after an hour."""
        now = self._clock()
        known_at = self._known_at
        is_old = known_at is None or abs((now - known_at).total_seconds()) > KEYS_LAST_S
        if anew or is_old:
            metadata = await _get(
                client, self._config.issuer.rstrip("/") + "/.well-known/openid-configuration"
            )
            if metadata.get("issuer") != self._config.issuer:
                raise _failed("The provider calls itself by another name.", "OIDC_ISSUER")
            if any(not _is_safe(metadata.get(name), self._config.issuer) for name in _FIELDS):
                raise _failed("The provider's description isn't whole.", "OIDC_UNREACHABLE")
            keys = await _get(client, metadata["jwks_uri"])
            if not isinstance(keys.get("keys"), list):
                raise _failed("The provider's keys can't be read.", "OIDC_UNREACHABLE")
            self._metadata, self._keys, self._known_at = metadata, keys, now
        return self._metadata


def local_path(path: str | None) -> str:
    """`path` if it is a path of this app, else `/`: nobody is sent to another site from here."""
    if path is None or not path.isprintable() or "\\" in path:
        return "/"
    return path if path.startswith("/") and not path.startswith("//") else "/"


async def _get(client: AsyncOAuth2Client, url: str) -> dict[str, Any]:
    try:
        response = await client.request("GET", url, withhold_token=True)
        response.raise_for_status()
        found = response.json()
    except (*_NETWORK, ValueError) as error:
        raise _failed("The provider can't be reached now.", "OIDC_UNREACHABLE") from error
    if not isinstance(found, dict):
        raise _failed("The provider's answer can't be read.", "OIDC_UNREACHABLE")
    return found


def _is_safe(url: Any, issuer: str) -> bool:
    """Whether an endpoint is at least as protected as the issuer."""
    return isinstance(url, str) and url.startswith(f"{urlsplit(issuer).scheme}://")


def _failed(message: str, code: str) -> SignInFailed:
    return SignInFailed(f"{message} Try to sign in again.", code=code)

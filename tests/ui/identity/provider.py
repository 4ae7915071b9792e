"""An OpenID provider on loopback, whose next answer a test can spoil."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "gkt-server", "a secret of the client"


class Provider:
    """Signs in whoever it is told, without asking.

    Attributes:
        issuer: Its address.
        claims: Of the next ID token, over the right ones; None leaves one out.
        sign: Makes the next ID token of its claims.
        key: What it signs with.
        published: The keys that it publishes.
        metadata: Over the right discovery document.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key: RSAKey | ECKey = RSAKey.generate_key(2048, {"kid": "one"})
        self.reset()
        self._codes: dict[str, dict[str, str]] = {}
        self.app = FastAPI()
        self.app.get("/.well-known/openid-configuration")(self._configuration)
        self.app.get("/keys")(self._keys)
        self.app.post("/token")(self._token)

    def reset(self) -> None:
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = self._signed
        self.published: list[Any] = [self.key]
        self.asked_for_keys = 0

    def visit(self, url: str) -> dict[str, str]:
        """What a browser brings back after it was sent to `url`."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert query["response_type"] == "code" and query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256" and len(query["code_challenge"]) == 43
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return {"code": code, "state": query["state"], "iss": self.issuer}

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            # More than we take: what a provider claims to support must not widen our list.
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            **self.metadata,
        }

    def _keys(self) -> dict[str, Any]:
        self.asked_for_keys += 1
        return {"keys": [key.as_dict(private=False) for key in self.published]}

    async def _token(self, request: Request) -> Any:
        form = {name: str(value) for name, value in (await request.form()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        challenge = _base64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        good = asked is not None and challenge == asked["code_challenge"]
        good = good and request.headers.get("authorization") == f"Basic {basic}"
        if asked is None or not good or form["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "subject-1", "nonce": asked["nonce"],
            "iat": now, "exp": now + 300, "email": "Zoe@Example.org", "email_verified": True,
            "name": "Zoe",
        }  # fmt: skip
        claims = {k: v for k, v in {**claims, **self.claims}.items() if v is not None}
        answer = {"access_token": "provider-access", "token_type": "Bearer", "expires_in": 300}
        return {**answer, "id_token": self.sign(claims)}

    def _signed(self, claims: dict[str, Any]) -> str:
        algorithm = "ES256" if isinstance(self.key, ECKey) else "RS256"
        return jwt.encode({"alg": algorithm, "kid": self.key.kid}, claims, self.key)

    def signed_with_the_public_key(self, claims: dict[str, Any]) -> str:
        """HS256, with the RSA key's public half as the shared secret."""
        head = _base64(b'{"alg":"HS256","kid":"one"}')
        signed = f"{head}.{_base64(json.dumps(claims).encode())}"
        secret = self.key.as_pem(private=False)
        return f"{signed}.{_base64(hmac.digest(secret, signed.encode(), 'sha256'))}"

    def unsigned(self, claims: dict[str, Any]) -> str:
        body = self._signed(claims).split(".")[1]
        head = _base64(b'{"alg":"none","kid":"one"}')
        return f"{head}.{body}."


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@contextmanager
def running() -> Iterator[Provider]:
    """A provider that answers until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    provider = Provider(f"http://127.0.0.1:{listening.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(provider.app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)
        listening.close()

"""Headers on every answer, and nonces that reach script tags however the body is cut."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_keras_tune_ui.gate.headers import Answer, new_nonce

PAGE = [(b"content-type", b"text/html; charset=utf-8"), (b"x-nicegui-content", b"page")]


async def send_through(
    parts: list[bytes], headers: list[tuple[bytes, bytes]], *, path: str = "/", scheme: str = "http"
) -> tuple[dict[str, str], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    answer = Answer({"path": path, "scheme": scheme}, send, nonce="n0nce")
    await answer.send({"type": "http.response.start", "status": 200, "headers": headers})
    for index, part in enumerate(parts):
        more = index < len(parts) - 1
        await answer.send({"type": "http.response.body", "body": part, "more_body": more})
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return found, b"".join(message["body"] for message in sent[1:])


HTML = b'<p>a<b</p><script>1</script><SCRIPT defer src="x"></SCRIPT><scripty><script\n>2</script>'
MARKED = (
    b"<p>a<b</p><script nonce=n0nce>1</script>"
    b'<script nonce=n0nce defer src="x"></SCRIPT><scripty><script nonce=n0nce\n>2</script>'
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 50, 1000])
async def test_each_script_tag_of_a_page_gets_the_nonce_however_it_is_cut(size: int) -> None:
    parts = [HTML[start : start + size] for start in range(0, len(HTML), size)]
    headers, body = await send_through(parts, [*PAGE, (b"content-length", b"80")])
    assert body == MARKED
    assert "content-length" not in headers
    assert "'nonce-n0nce'" in headers["content-security-policy"]


async def test_html_that_nicegui_did_not_build_gets_no_nonce() -> None:
    _, body = await send_through([HTML], [(b"content-type", b"text/html")])
    assert body == HTML


async def test_a_compressed_page_is_a_mistake_and_not_sent_without_nonces() -> None:
    with pytest.raises(RuntimeError, match="compressed"):
        await send_through([HTML], [*PAGE, (b"content-encoding", b"gzip")])


async def test_every_answer_has_the_headers() -> None:
    headers, _ = await send_through([b"{}"], [(b"content-type", b"application/json")])
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "strict-transport-security" not in headers


async def test_hsts_is_sent_behind_tls_only() -> None:
    headers, _ = await send_through([b""], [], scheme="https")
    assert headers["strict-transport-security"].startswith("max-age=31536000")


async def test_an_app_cannot_loosen_them_but_can_sandbox_a_file() -> None:
    own = [
        (b"x-frame-options", b"ALLOWALL"),
        (b"cache-control", b"public"),
        (b"content-security-policy", b"sandbox"),
    ]
    headers, _ = await send_through([b""], own)
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "sandbox"


def test_nonces_have_128_bits_and_differ() -> None:
    assert len({new_nonce() for _ in range(100)}) == 100
    assert all(len(new_nonce()) == 32 for _ in range(3))

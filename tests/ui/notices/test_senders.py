"""E-mail and Slack through apprise, against a real mail server and a stand-in for Slack."""

from __future__ import annotations

import asyncio
import json
import threading
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from gemma_keras_tune_ui.notices.addresses import checked
from gemma_keras_tune_ui.notices.outbound import Undelivered
from gemma_keras_tune_ui.notices.senders import MailServer, Message, to_slack
from tests.support.proxy import free_port

MESSAGE = Message(
    title="Spam & Söhne\r\nBcc: eve@example.org: the training has ended",
    text="It took <b>3 min</b>.",
    event="ended",
    tag="t",
    link="https://tune.example.org/runs/r1",
)


class Mailbox:
    def __init__(self) -> None:
        self.got: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.got.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 OK"


async def test_a_mail_comes_through_as_it_was_meant() -> None:
    box = Mailbox()
    port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        server = MailServer(
            host="127.0.0.1", port=port, security="none", sender="Tune <tune@example.org>"
        )
        await server(checked("email", "ann@example.org"), MESSAGE, user_id="ann")
    finally:
        controller.stop()
    ((sender, recipients, content),) = box.got
    mail = message_from_bytes(content, policy=policy.default)
    assert (sender, recipients) == ("tune@example.org", ["ann@example.org"])
    assert mail["Bcc"] is None and "Spam & Söhne" in mail["Subject"]
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "It took <b>3 min</b>." in text and MESSAGE.link in text
    assert mail.get_body(("html",)) is None


async def test_a_mail_server_that_is_away_is_named_as_the_reason() -> None:
    server = MailServer(host="127.0.0.1", port=1, security="none", sender="tune@example.org")
    with pytest.raises(Undelivered, match="mail server") as caught:
        await server(checked("email", "ann@example.org"), MESSAGE, user_id="ann")
    assert caught.value.outcome == "again"


class _Slack(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, json.loads(content)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Says nothing on the terminal."""


async def test_slack_gets_title_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from apprise.plugins.slack import NotifySlack

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slack)
    server.heard = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    here = f"http://127.0.0.1:{server.server_address[1]}/services"
    monkeypatch.setattr(NotifySlack, "webhook_url", here)
    secret = "x" * 24
    where = checked("slack", f"https://hooks.slack.com/services/T12345678/B12345678/{secret}")
    try:
        await asyncio.wait_for(to_slack(where, MESSAGE, user_id="ann"), 30)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    ((path, content),) = server.heard  # type: ignore[attr-defined]
    assert path == f"/services/T12345678/B12345678/{secret}"
    said = json.dumps(content)
    assert "the training has ended" in said and "It took" in said and MESSAGE.link in said

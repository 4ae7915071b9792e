"""Where the server listens, and what it refuses."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.listening import address_of, check_exposure, listen
from gemma_keras_tune_ui.server import Voice
from gemma_keras_tune_ui.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
def test_loopback_needs_nothing_else(host):
    check_exposure(Settings(host=host))


PROXY = {"trusted_proxies": ("10.0.0.2",), "public_url": "https://tune.example.org"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"trusted_proxies": ("10.0.0.2",)},
        {"public_url": "https://tune.example.org"},
        {**PROXY, "public_url": "http://tune.example.org"},
        {"allowed_hosts": ("tune.example.org",)},
    ],
)
def test_beyond_loopback_without_tls_or_a_declared_proxy_is_refused(host, given):
    with pytest.raises(TuneError) as caught:
        check_exposure(Settings(host=host, **given))
    assert caught.value.code == "UI_EXPOSED"
    assert "tls.certificate" in str(caught.value) and "trusted_proxies" in str(caught.value)


def test_behind_a_declared_proxy_with_https_it_may_be_reached():
    check_exposure(Settings(host="0.0.0.0", **PROXY))


def test_with_a_certificate_it_may_be_reached_under_a_declared_name(tmp_path: Path):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    tls: dict[str, Any] = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    with pytest.raises(TuneError, match="public_url"):
        check_exposure(Settings(host="0.0.0.0", tls=tls))
    check_exposure(Settings(host="0.0.0.0", tls=tls, allowed_hosts=("a.org",)))


def test_a_port_in_use_is_refused_with_the_next_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TuneError) as caught:
            listen(Settings(port=port))
    assert caught.value.code == "PORT_IN_USE"
    offered = int(str(caught.value).rpartition("--port ")[2].rstrip("."))
    assert offered > port
    listen(Settings(port=offered)).close()


def test_port_zero_takes_a_free_one():
    with listen(Settings(port=0)) as made:
        port = made.getsockname()[1]
        assert port > 0
        assert address_of(Settings(), port) == f"http://127.0.0.1:{port}"


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(TuneError) as caught:
        listen(Settings(host="192.0.2.7"))
    assert caught.value.code == "HOST_UNKNOWN"


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0, "Stopped."),
        (1, "Stopped. 1 job goes on by itself; the next start takes it over again."),
        (3, "Stopped. 3 jobs go on by themselves; the next start takes them over again."),
    ],
)
def test_a_stop_says_what_goes_on_without_the_server(left, said):
    app = FastAPI()
    lines: list[str] = []
    app.state.children_left = left
    with listen(Settings(port=0)) as listening:
        Voice(Settings(port=0), listening, app, say=lines.append).stopped()
    assert lines == [said]

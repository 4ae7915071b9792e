"""nginx before a server, with the very file that the containers use."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "docs" / "deploy" / "nginx.conf.template"
HOST = "tune.test"
_AROUND = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{inner}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running nginx.

    Attributes:
        url: Where people come.
        plain_port: Where it speaks HTTP and sends everybody to `url`.
        certificate: To be trusted by the test.
        access_log: What it logged.
    """

    url: str
    plain_port: int
    certificate: Path
    access_log: Path


def program() -> str:
    """nginx's path; without it the test is skipped."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    return found


def filled_in(values: dict[str, str]) -> str:
    """The committed file with its names filled in, as nginx's image does with envsubst."""
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text, "a name of the template that nobody fills in"
    return text


@contextmanager
def proxy_before(app_port: int, folder: Path, *, port: int) -> Iterator[Proxy]:
    """nginx with TLS on `port`, before the server on `app_port`."""
    nginx = program()
    folder.mkdir()
    certificate = make_certificate(folder)
    plain_port = free_port()
    access_log = folder / "access.log"
    values = {
        "APP": f"127.0.0.1:{app_port}",
        "PUBLIC_URL": f"https://{HOST}:{port}",
        "HTTP_PORT": f"127.0.0.1:{plain_port}",
        "HTTPS_PORT": f"127.0.0.1:{port}",
        "CERTIFICATE": str(certificate),
        "CERTIFICATE_KEY": str(folder / "key.pem"),
    }
    inner = filled_in(values).replace("/dev/stdout", str(access_log))
    config = folder / "nginx.conf"
    config.write_text(_AROUND.format(folder=folder, inner=inner), encoding="utf-8")
    folder.chmod(0o755)
    command = [nginx, "-c", str(config), "-e", str(folder / "error.log")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen([*command, "-g", "user root;" if os.geteuid() == 0 else ""])
    try:
        _wait_for(port)
        yield Proxy(f"https://{HOST}:{port}", plain_port, certificate, access_log)
    finally:
        process.terminate()
        process.wait(10)


def make_certificate(folder: Path) -> Path:
    """A certificate for `HOST` that signs itself; its key lies beside it as key.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, kind, plain))
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(pem))
    return path


def free_port() -> int:
    """A port that nobody uses now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        port: int = made.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx didn't start")

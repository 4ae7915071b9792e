"""Settings: where they come from, what is refused, and what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.settings_sources import (
    client_secret,
    database_url,
    keys,
    read_settings,
    shown,
    variable,
)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root that the environment names."""
    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path))
    return tmp_path


def refusal(arguments: dict[str, object] | None = None, config: Path | None = None) -> str:
    with pytest.raises(TuneError) as caught:
        read_settings(arguments, config=config)
    return str(caught.value)


def test_without_any_source_the_server_listens_on_loopback_with_sqlite(root):
    settings = read_settings().settings
    assert (settings.host, settings.port, settings.root) == ("127.0.0.1", 8080, root)
    assert database_url(settings) == f"sqlite+aiosqlite:///{root}/server.sqlite3"
    assert not settings.is_https


def test_the_command_line_wins_over_the_environment_which_wins_over_the_file(root, monkeypatch):
    (root / "server.toml").write_text("port = 1\nhost = '::1'\n[log]\nlevel = 'error'\n")
    monkeypatch.setenv("GEMMA_KERAS_TUNE_PORT", "2")
    monkeypatch.setenv("GEMMA_KERAS_TUNE_LOG__LEVEL", "debug")
    resolved = read_settings({"port": 3})
    settings = resolved.settings
    assert (settings.port, settings.host, settings.log.level) == (3, "::1", "debug")
    origins = {key: origin for key, _, origin in shown(resolved)}
    assert origins["port"] == "command line"
    assert origins["log.level"] == "environment"
    assert origins["host"] == str(root / "server.toml")
    assert origins["backup.keep"] == "default"


def test_the_environment_writes_names_with_commas_between_them(monkeypatch):
    monkeypatch.setenv("GEMMA_KERAS_TUNE_TRUSTED_PROXIES", "10.0.0.2, 10.1.0.0/16")
    monkeypatch.setenv("GEMMA_KERAS_TUNE_ALLOWED_HOSTS", "Tune.Example.org")
    settings = read_settings().settings
    assert settings.trusted_proxies == ("10.0.0.2/32", "10.1.0.0/16")
    assert settings.allowed_hosts == ("tune.example.org",)


def test_everything_that_is_wrong_is_told_at_once_with_the_nearest_name(root, monkeypatch):
    (root / "server.toml").write_text("ports = 1\n[log]\nlevl = 'info'\n[backup]\nkeep = 0\n")
    monkeypatch.setenv("GEMMA_KERAS_TUNE_PUBLIC_ULR", "https://x.org")
    monkeypatch.setenv("GEMMA_KERAS_TUNE_UPLOADS__USER_FILE", "3")
    text = refusal({"port": 70_000})
    assert "has 6 problems" in text
    assert "ports: no such setting. Did you mean 'port'?" in text
    assert "log.levl: no such setting. Did you mean 'log.level'?" in text
    assert "uploads.user_file: no such setting. Did you mean 'uploads.user_files'?" in text
    assert "GEMMA_KERAS_TUNE_PUBLIC_ULR: no such variable. Did you mean" in text
    assert "port: Input should be less than or equal to 65535; got 70000." in text
    assert "backup.keep: Input should be greater than or equal to 1" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"trusted_proxies": ("*",)}, "addresses are written like"),
        ({"trusted_proxies": ("0.0.0.0/0",)}, "that is everybody"),
        ({"public_url": "tune.example.org"}, "write it like https://"),
        ({"public_url": "https://tune.example.org/app"}, "a host name to itself"),
        ({"allowed_hosts": ("https://a.org",)}, "a host name is written like"),
        ({"allowed_hosts": ("*",)}, "a host name is written like"),
        ({"tls": {"certificate": "/nowhere.pem"}}, "give both, or neither"),
        ({"tls": {"certificate": "/nowhere.pem", "key": "/no.pem"}}, "there is no file"),
        ({"oidc": {"issuer": "http://idp.example.org"}}, "must begin with https://"),
        ({"oidc": {"issuer": "https://idp.example.org"}}, "client_id: is missing"),
    ],
)
def test_what_would_be_unsafe_or_half_said_is_refused(arguments, said):
    assert said in refusal(arguments)


def test_a_secret_is_never_shown_not_even_where_it_is_wrong(monkeypatch):
    canary = "canary-7f3a"
    monkeypatch.setenv("GEMMA_KERAS_TUNE_DATABASE__URL", f"postgresql+asyncpg://u:{canary}@h/d")
    monkeypatch.setenv("GEMMA_KERAS_TUNE_OIDC__CLIENT_SECRET", canary)
    resolved = read_settings()
    assert canary not in str(shown(resolved)) + repr(resolved) + str(resolved.settings)
    assert ("database.url", "postgresql+asyncpg://u:***@h/d", "environment") in shown(resolved)
    assert client_secret(resolved.settings) == canary
    monkeypatch.delenv("GEMMA_KERAS_TUNE_OIDC__CLIENT_SECRET")
    assert canary not in refusal({"oidc": {"client_secret": [canary]}})


def test_a_password_may_stand_in_a_file_of_its_own(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    database = {"url": "postgresql+asyncpg://tune@db/tune", "password_file": str(secret)}
    settings = read_settings({"database": database}).settings
    assert database_url(settings) == "postgresql+asyncpg://tune:p%40ss%2Fword@db/tune"
    secret.write_text("")
    with pytest.raises(TuneError, match="is empty"):
        database_url(settings)


def test_a_file_that_is_named_must_be_there_and_be_toml(tmp_path):
    assert "can't be read" in refusal(config=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("port = ")
    assert "no valid TOML" in refusal(config=tmp_path / "bad.toml")


def test_the_file_in_a_root_cannot_name_another_root(root, tmp_path):
    (root / "server.toml").write_text("root = '/elsewhere'\n")
    assert "lies in the root" in refusal()
    other = tmp_path / "other.toml"
    other.write_text(f"root = '{tmp_path / 'there'}'\n")


def test_a_named_file_may_name_the_root(tmp_path, monkeypatch):
    monkeypatch.delenv("GEMMA_KERAS_TUNE_HOME")
    file = tmp_path / "other.toml"
    file.write_text(f"root = '{tmp_path / 'there'}'\n")
    assert read_settings(config=file).settings.root == tmp_path / "there"


def test_hosts_are_those_that_were_declared_and_this_machine():
    settings = read_settings(
        {"host": "0.0.0.0", "public_url": "https://Tune.example.org:8443", "allowed_hosts": ("b",)}
    ).settings
    assert settings.hosts == ("tune.example.org", "b", "localhost", "127.0.0.1", "[::1]")
    assert settings.is_https


def test_every_setting_has_a_variable_and_a_help_text():
    from gemma_keras_tune_ui.settings import Settings

    names = [variable(key) for key in keys()]
    assert len(set(names)) == len(names) > 30
    assert "GEMMA_KERAS_TUNE_DATABASE__PASSWORD_FILE" in names
    schema = Settings.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        for name, field in section["properties"].items():
            assert "$ref" in field or field.get("description"), name

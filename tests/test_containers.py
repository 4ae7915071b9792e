"""The files for containers, checked as far as they can be without an engine that runs them.

`tests/ui/server/test_deployed.py` runs the same set-up with PostgreSQL and nginx from Debian.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gemma_keras_tune_ui.gate.rules import PUBLIC_PATHS
from gemma_keras_tune_ui.settings import Settings
from gemma_keras_tune_ui.settings_sources import keys, variable
from tests.support.proxy import TEMPLATE

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLES = {variable(key) for key in keys()}
FILES = ("Dockerfile", "Dockerfile.tpu")


def instructions(file: str = "Dockerfile") -> list[tuple[str, str]]:
    """`(word, rest)` of every instruction of a Dockerfile; continued lines are one."""
    lines = (ROOT / file).read_text().replace("\\\n", " ").splitlines()
    kept = [line for line in lines if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in kept)]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(at for at, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def only(word: str) -> str:
    (rest,) = [rest for name, rest in last_stage() if name == word]
    return rest


def is_in_context(path: str) -> bool:
    """Whether `.dockerignore` lets a path of the repository into the build."""
    included = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if fnmatch.fnmatch(path, pattern) or path.startswith(f"{pattern}/"):
                included = line.startswith("!")
    return included


@pytest.mark.parametrize("file", FILES)
def test_everything_that_is_copied_exists_and_gets_into_the_build(file):
    copied = [
        source
        for word, rest in instructions(file)
        if word == "COPY" and "--from" not in rest
        for source in shlex.split(rest)[:-1]
    ]
    assert {"pyproject.toml", "gemma_keras_tune", "recipes", "ui"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert is_in_context(source), source


def test_secrets_runs_and_history_stay_out_of_the_build():
    for path in (".git", ".secrets", "secrets", "runs", "server.sqlite3", ".venv", "tests", ".env"):
        assert not is_in_context(path), path


@pytest.mark.parametrize(
    "image",
    [rest.split()[0] for file in FILES for word, rest in instructions(file) if word == "FROM"]
    + [service["image"] for service in SERVICES.values()],
)
def test_every_image_has_a_tag_that_says_a_version(image):
    tag = image.partition(":")[2]
    assert re.match(r"\d", tag) and tag != "latest"


@pytest.mark.parametrize("file", FILES)
def test_what_is_installed_are_extras_that_there_are(file):
    (installed,) = [rest for word, rest in instructions(file) if "pip install" in rest]
    (named,) = re.findall(r"'\.\[([\w,]+)\]'", installed)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(named.split(",")) <= set(project["optional-dependencies"])
    assert ("tpu" in named.split(",")) == file.endswith(".tpu")


def test_the_container_for_tpus_is_the_command_itself_and_gets_the_signals():
    last = {word: rest for word, rest in instructions("Dockerfile.tpu")}
    assert last["ENTRYPOINT"] == '["gemma-keras-tune"]' and last["STOPSIGNAL"] == "SIGTERM"
    assert f"GEMMA_KERAS_TUNE_HOME={last['VOLUME']}" in last["ENV"]


def test_the_app_is_not_root_and_is_process_one_itself():
    user = only("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"--uid {user.partition(':')[0]} " in (ROOT / "Dockerfile").read_text()
    assert only("ENTRYPOINT") == '["gemma-keras-tune"]'  # no shell between: it gets the signals
    assert only("CMD") == '["ui"]' and only("STOPSIGNAL") == "SIGTERM"
    app = SERVICES["app"]
    assert app["cap_drop"] == ["ALL"] and app["read_only"] is True
    assert "no-new-privileges:true" in app["security_opt"]


def test_every_variable_of_ours_is_a_real_setting_with_a_value_it_takes():
    pairs = dict(re.findall(r"(GEMMA_KERAS_TUNE_\w+)=(\S+)", only("ENV")))
    assert pairs["GEMMA_KERAS_TUNE_HOME"] == only("VOLUME")
    given = {**pairs, **SERVICES["app"]["environment"]}
    ours = {name for name in given if name.startswith("GEMMA_KERAS_TUNE_")}
    assert len(ours) == len(given) and ours <= VARIABLES
    Settings(
        host=pairs["GEMMA_KERAS_TUNE_HOST"],
        port=int(pairs["GEMMA_KERAS_TUNE_PORT"]),
        trusted_proxies=given["GEMMA_KERAS_TUNE_TRUSTED_PROXIES"],
        log={"format": pairs["GEMMA_KERAS_TUNE_LOG__FORMAT"]},
        database={"url": given["GEMMA_KERAS_TUNE_DATABASE__URL"]},
    )


def test_ports_of_app_health_check_and_proxy_are_the_same():
    port = only("EXPOSE")
    assert f"GEMMA_KERAS_TUNE_PORT={port}" in only("ENV")
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", only("HEALTHCHECK"))
    assert asked and asked[1] == port and asked[2] in PUBLIC_PATHS | {"/readyz"}
    assert SERVICES["proxy"]["environment"]["APP"] == f"app:{port}"


def test_only_the_proxy_can_be_reached_and_it_is_the_one_that_is_trusted():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    address = SERVICES["proxy"]["networks"]["inside"]["ipv4_address"]
    assert SERVICES["app"]["environment"]["GEMMA_KERAS_TUNE_TRUSTED_PROXIES"] == address
    variables = SERVICES["proxy"]["environment"]
    ends = {mapping.partition(":")[2] for mapping in SERVICES["proxy"]["ports"]}
    assert ends == {variables["HTTP_PORT"], variables["HTTPS_PORT"]}


def test_every_name_of_the_proxys_file_is_filled_in_and_no_other():
    used = set(re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text()))
    assert used == set(SERVICES["proxy"]["environment"])
    (mounted,) = SERVICES["proxy"]["volumes"]
    source, target, mode = mounted.split(":")
    assert ROOT / source == TEMPLATE and target.endswith(".template") and mode == "ro"


def test_the_password_stands_in_a_secret_and_nowhere_else():
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"PASSWORD:", text)
    url = SERVICES["app"]["environment"]["GEMMA_KERAS_TUNE_DATABASE__URL"]
    assert re.fullmatch(r"postgresql\+asyncpg://\w+@postgres/\w+", url)
    for service, name in (
        ("app", "GEMMA_KERAS_TUNE_DATABASE__PASSWORD_FILE"),
        ("postgres", "POSTGRES_PASSWORD_FILE"),
    ):
        assert SERVICES[service]["environment"][name] == "/run/secrets/database_password"
        assert "database_password" in SERVICES[service]["secrets"]
    ignored = (ROOT / ".gitignore").read_text().split()
    for secret in COMPOSE["secrets"].values():
        folder = Path(secret["file"]).parts[0]
        assert f"/{folder}/" in ignored


def test_what_a_service_names_is_declared():
    for name, service in SERVICES.items():
        networks = service.get("networks", [])
        assert set(networks) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        for mounted in service.get("volumes", []):
            source = mounted.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), mounted
        assert set(service.get("depends_on", [])) <= set(SERVICES), name

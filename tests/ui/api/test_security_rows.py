"""Attacks that worked elsewhere, by their row in the table of docs/security.md."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import httpx
import pytest

import gemma_keras_tune_ui
from gemma_keras_tune_ui.api.openapi import is_of_api, schema_of
from tests.ui.api.matrix import ROUTES
from tests.ui.api.test_datasets import upload
from tests.ui.api.world import ORIGIN

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = "a; touch X $(touch X) `touch X` | touch X"
URLS = (
    "http://127.0.0.1/x.csv", "http://169.254.169.254/latest", "https://metadata.google.internal",
    "http://[::1]/", "http://0/", "http://2130706433/", "file:///etc/passwd", "gs://bucket/x",
    "jdbc:h2:mem:x;INIT=RUNSCRIPT FROM 'http://evil'",
)  # fmt: skip


async def test_row_15_16_shell_letters_in_parameters_are_refused_or_plain_text(world):
    given = {"recipe_name": "spam_classifier", "set": {"name": EVIL}}
    got = await world.ask("editor", "POST", "/jobs", {"kind": "train", "recipe": given})
    assert got.status_code == 422 and got.json()["problems"][0]["key"] == "name"
    got = await world.ask("editor", "POST", "/jobs", {"kind": "evaluate", "run": EVIL})
    assert got.status_code == 422
    run = await world.run(world.here, None)
    got = await world.ask("editor", "PATCH", f"/runs/{run}", {"name": EVIL})
    assert got.json()["name"] == EVIL


async def test_row_15_nothing_of_the_app_starts_a_shell() -> None:
    root = Path(gemma_keras_tune_ui.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name not in ("os.system", "os.popen", "asyncio.create_subprocess_shell"), path
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{path} uses a shell")


@pytest.mark.parametrize(
    "name",
    ["%2e%2e/%2e%2e/events.jsonl", "..%2f..%2frecipe.json", "%2fetc%2fpasswd", "C:%5cwindows",
     "..%5c..%5crecipe.json", "model.safetensors%00.txt", "model.safetensors%23",
     "file:%2f%2f%2fetc%2fpasswd"],
)  # fmt: skip
async def test_row_24_25_file_routes_do_not_leave_their_folder(world, name):
    run = await world.run(world.here, None)
    for path in (f"/runs/{run}/artifacts/hf/files/{name}", f"/runs/{run}/files/{name}"):
        got = await world.ask("owner", "GET", path)
        assert got.status_code in (404, 422), got.text
        assert b"root:" not in got.content and b"run_started" not in got.content


@pytest.mark.parametrize("id", ["..", "%2e%2e", "..%5c..", "%23", "file:%2f%2f%2fetc", ".trash"])
async def test_row_26_ids_are_looked_up_and_never_paths(world, id):
    paths = (
        f"/runs/{id}", f"/runs/{id}/report", f"/runs/{id}/artifacts/{id}", f"/datasets/{id}",
        f"/jobs/{id}", f"/jobs/{id}/log", f"/uploads/{id}",
    )  # fmt: skip
    for path in paths:
        assert (await world.ask("owner", "GET", path)).status_code in (404, 405, 422), path


async def test_row_26_a_link_inside_an_artifact_leads_nowhere(world):
    run = await world.run(world.here, None)
    folder = world.root / "runs" / run / "artifacts" / "hf"
    (folder / "passwd").symlink_to("/etc/passwd")
    files = (await world.ask("owner", "GET", f"/runs/{run}/artifacts/hf")).json()["files"]
    assert "passwd" not in [file["name"] for file in files]
    got = await world.ask("owner", "GET", f"/runs/{run}/artifacts/hf/files/passwd")
    assert got.status_code == 404


async def test_row_27_changing_a_file_of_an_artifact_is_refused_before_and_after_signing_in(world):
    run = await world.run(world.here, None)
    path = f"/runs/{run}/artifacts/hf/files/%2e%2e/%2e%2e/x"
    for who, status in (("nobody", {401, 403, 404}), ("owner", {404, 405})):
        assert (await world.ask(who, "PUT", path, {})).status_code in status
    plain = f"/runs/{run}/artifacts/hf/files/x"
    assert (await world.ask("nobody", "PUT", plain, {})).status_code == 401
    assert (await world.ask("owner", "PUT", plain, {})).status_code == 405


async def test_row_28_a_log_is_chosen_by_its_job_only(world):
    job = await world.job(world.here, world.people["editor"].user_id)
    got = await world.ask("viewer", "GET", f"/jobs/{job}/log?filename=../../../../etc/passwd")
    assert got.status_code == 200 and "root:" not in got.text
    link = world.root / "jobs" / job / "log.txt"
    assert got.text.startswith("reads dataset:") and link.is_file()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x.csv", "~/x.csv", "shipped:../x", "dataset:.."]
)
async def test_row_29_no_path_of_the_server_can_be_named(world, path):
    args = {"action": "columns", "path": path}
    got = await world.ask("editor", "POST", "/jobs", {"kind": "data", "args": args})
    assert (got.status_code, got.json()["code"]) == (422, "NAME_INVALID")
    nested = {"action": "check", "path": "shipped:spam_test.csv", "data": {"test_path": path}}
    got = await world.ask("editor", "POST", "/jobs", {"kind": "data", "args": nested})
    assert got.status_code == 422
    run = await world.run(world.here, None)
    for kind in ("evaluate", "answer"):
        body = {"kind": kind, "run": run, "args": {"data": path}}
        got = await world.ask("editor", "POST", "/jobs", body)
        assert (got.status_code, got.json()["code"]) == (422, "NAME_INVALID")
    given = {"recipe_name": "spam_classifier", "set": {"model.adapter": path}}
    got = await world.ask("editor", "POST", "/jobs", {"kind": "train", "recipe": given})
    assert got.status_code == 422 and "model.adapter" in got.text


async def test_an_adapter_of_another_workspace_is_not_found(world):
    """Nor one of a run that has none yet; both by the name of the run."""
    theirs, ours = await world.run(world.there, None), await world.run(world.here, None)
    for run, said in ((theirs, "this workspace has no"), (ours, "has no adapter yet")):
        given = {"recipe_name": "spam_classifier", "set": {"model.adapter": f"run:{run}"}}
        got = await world.ask("editor", "POST", "/jobs", {"kind": "train", "recipe": given})
        assert got.status_code == 422 and said in got.text


@pytest.mark.parametrize("url", URLS)
async def test_row_51_54_no_address_is_fetched_for_anybody(world, url):
    args = {"action": "columns", "path": url}
    got = await world.ask("editor", "POST", "/jobs", {"kind": "data", "args": args})
    assert (got.status_code, got.json()["code"]) == (422, "NAME_INVALID")
    for key in ("data.path", "model.preset"):
        given = {"recipe_name": "spam_classifier", "set": {key: url}}
        got = await world.ask("editor", "POST", "/jobs", {"kind": "train", "recipe": given})
        assert got.status_code == 422 and got.json()["problems"][0]["key"] == key
    args = {"prompt": "x", "model": url}
    got = await world.ask("editor", "POST", "/jobs", {"kind": "generate", "args": args})
    assert got.status_code == 422


async def test_row_53_no_parameter_of_any_route_is_an_address(world):
    schema = json.dumps(schema_of(world.app))
    names = {
        parameter["name"]
        for path in schema_of(world.app)["paths"].values()
        for said in path.values()
        for parameter in said.get("parameters", [])
    }
    assert not {name for name in names if "url" in name or "host" in name or "proxy" in name}
    assert '"format": "uri"' not in schema


async def test_row_34_numbers_and_formulas_of_a_data_set_are_told_as_plain_json(world):
    """Two sheets are made of what people wrote, both with formulas disarmed; else it is JSON."""
    kinds = {
        kind
        for path in schema_of(world.app)["paths"].values()
        for said in path.values()
        for answer in said["responses"].values()
        for kind in answer.get("content", {})
    }
    assert kinds == {
        "application/json",
        "application/octet-stream",
        "text/event-stream",
        "text/plain",
    }


@pytest.mark.parametrize(
    ("language", "line"),
    [("en-GB", "2,'=HYPERLINK(1),ham,0.25"), ("de-DE,en", "2;'=HYPERLINK(1);ham;0,25")],
)
async def test_row_34_a_sheet_has_no_formulas_in_any_language(world, language, line):
    run = await world.run(world.here, None)
    headers = {"Accept-Language": language}
    got = await world.ask("viewer", "GET", f"/runs/{run}/predictions.csv", headers=headers)
    assert got.content.decode("utf-8-sig").splitlines()[1] == line
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"].endswith("''made-up-rows.csv")


async def test_row_35_a_page_in_an_artifact_is_saved_and_never_shown(world):
    run = await world.run(world.here, None)
    folder = world.root / "runs" / run / "artifacts" / "hf"
    (folder / "x.html").write_text("<script>alert(1)</script>")
    got = await world.ask("viewer", "GET", f"/runs/{run}/artifacts/hf/files/x.html")
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"].startswith("attachment")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in got.headers["content-security-policy"]


async def test_row_36_names_that_are_code_to_others_pass_as_plain_text(world):
    run = await world.run(world.here, None)
    name = ":x <img src=x onerror=alert(1)> __proto__ {{7*7}}"
    got = await world.ask("editor", "PATCH", f"/runs/{run}", {"name": name, "tags": ["__proto__"]})
    assert (got.json()["name"], got.json()["tags"]) == (name, ["__proto__"])
    assert got.headers["content-type"] == "application/json"
    id = await upload(world, b"text,label\n:x,<script>\n", name="<img src=x>:y.csv")
    made = (await world.ask("editor", "POST", "/datasets", {"upload": id, "name": ":x"})).json()
    assert made["name"] == ":x" and made["file_name"] == "<img src=x>:y.csv"


async def test_row_43_another_host_is_refused_and_nobody_submits_without_signing_in(world):
    for host, status in (("evil.example", 421), ("localhost.evil.example", 421)):
        got = await world.http.get("/api/v1/session", headers={"Host": host})
        assert got.status_code == status
    body = {"kind": "data", "args": {"action": "check", "path": "shipped:spam_test.csv"}}
    got = await world.http.post("/api/v1/jobs", json=body, headers={"User-Agent": "curl"})
    assert got.status_code == 401


async def test_row_44_every_route_refuses_who_is_not_signed_in(world):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=world.app), base_url=ORIGIN
    ) as stranger:
        for method, path in ROUTES:
            plain = path.replace(":path}", "}")
            for name in ("run_id", "job_id", "dataset_id", "name", "format"):
                plain = plain.replace(f"{{{name}}}", "x")
            for odd in (f"/api/v1{plain}", f"/api/v1{plain}/", f"/api/v1{plain}?x=1"):
                got = await stranger.request(method, odd)
                assert got.status_code == 401, (method, odd, got.status_code)
                assert "gkt_" not in got.text


async def test_row_46_secrets_are_never_listed_and_no_hidden_field_sorts_or_filters(world):
    canary = "hf_canary0123456789"
    assert (await world.ask("admin", "PUT", "/secrets/HF_TOKEN", {"value": canary})).is_success
    for path in ("/secrets", "/audit?limit=500", "/session", "/members", "/users", "/tokens"):
        got = await world.ask("root", "GET", path)
        assert got.is_success and canary not in got.text
        assert "argon2" not in got.text and "_hash" not in got.text
    for path in ("/runs", "/jobs", "/datasets", "/audit"):
        for field in ("password_hash", "workspace_id", "args", "hash", "path"):
            got = await world.ask("admin", "GET", f"{path}?sort={field}")
            assert (got.status_code, got.json()["code"]) == (422, "UNKNOWN_FIELD"), (path, field)
        probed = await world.ask("admin", "GET", f"{path}?workspace_id={world.there}")
        assert (probed.status_code, probed.json()["code"]) == (422, "UNKNOWN_FIELD")


async def test_row_46_lists_hold_nothing_of_another_workspace(world):
    eve = world.people["eve"]
    run, job = await world.run(world.there, eve.user_id), await world.job(world.there, eve.user_id)
    data = await world.dataset(world.there, eve.user_id)
    for path, by, id in (
        ("/runs", "user_id", run),
        ("/jobs", "user_id", job),
        ("/datasets", "user_id", data),
        ("/audit", "object", eve.user_id),
    ):
        mine = await world.ask("owner", "GET", f"{path}?limit=500&{by}={eve.user_id}")
        assert mine.is_success and id not in mine.text, path
    for path, id in (("/runs", run), ("/jobs", job), ("/datasets", data)):
        assert id in (await world.ask("eve", "GET", f"{path}?limit=500")).text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_row_47_json_is_taken_only_as_json(world, kind):
    who = world.people["editor"]
    headers = {**who.headers} | ({"Content-Type": kind} if kind else {})
    got = await world.http.post(
        "/api/v1/recipes/check", content=b'{"recipe_name": "spam_classifier"}', headers=headers
    )
    assert got.status_code == 415


async def test_row_47_a_cookie_alone_changes_nothing(world):
    cookie = {"Cookie": world.people["editor"].headers["Cookie"]}
    run = await world.run(world.here, None)
    for headers in (
        cookie,
        {**cookie, "Origin": ORIGIN},
        {**cookie, "Origin": "http://evil.example", "X-GKT-Request": "1"},
        {**cookie, "Origin": "null", "X-GKT-Request": "1"},
    ):
        got = await world.http.delete(f"/api/v1/runs/{run}", headers=headers)
        assert got.status_code == 403
    assert (world.root / "runs" / run).is_dir()


async def test_errors_say_an_id_and_no_trace(world, monkeypatch):
    run = await world.run(world.here, None)
    (world.root / "runs" / run / "report.json").write_text("{torn")
    got = await world.ask("viewer", "GET", f"/runs/{run}/report")
    assert (got.status_code, got.json()["code"]) == (500, "RUN_FILE")
    assert str(world.root) not in got.text and got.json()["request_id"]

    async def fail(*_: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(type(world.parts.identity.members), "mine", fail)
    got = await world.ask("viewer", "GET", "/session")
    assert got.status_code == 500 and "canary" not in got.text and "Traceback" not in got.text


async def test_what_changes_something_is_in_the_audit_log(world):
    """Every route that isn't safe writes a line, but the ones that ask or only receive."""
    silent = {
        ("POST", "/recipes/check"),
        ("PATCH", "/uploads/{upload_id}"),  # pieces; begun, finished and aborted are noted
    }
    from tests.ui.api import matrix

    async def lines() -> int:
        found = await world.ask("root", "GET", "/audit/verify")
        assert found.json()["is_sound"], found.text
        return int(found.json()["checked"])

    from contextlib import ExitStack

    with ExitStack() as held:
        world.app.state.held = held
        for route in matrix.ROUTES:
            if route[0] in ("GET", "HEAD") or route in silent:
                continue
            who = world.people["root"]
            made = await matrix.REQUESTS[route](world, who, "here")
            before = await lines()
            path = route[1].format(**made.values)
            more = {"headers": dict(made.headers)}
            got = await world.ask(who, route[0], path, made.body, **more)
            assert got.is_success, (route, got.text)
            assert await lines() > before, route


async def test_every_route_of_the_api_says_what_it_does() -> None:
    from fastapi import FastAPI

    from gemma_keras_tune_ui.api import router

    app = FastAPI()
    router.register(app)
    for route in filter(is_of_api, app.routes):
        assert route.endpoint.__doc__, route.path

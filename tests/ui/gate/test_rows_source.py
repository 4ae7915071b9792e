"""Rows of the security table that hold because of what the app's source does not contain."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gemma_keras_tune_ui

UI = Path(gemma_keras_tune_ui.__file__).parent
ROOT = Path(__file__).parents[3]


def sources() -> list[tuple[str, ast.Module]]:
    found = []
    for path in sorted(UI.rglob("*.py")):
        found.append((str(path.relative_to(UI)), ast.parse(path.read_text(encoding="utf-8"))))
    return found


def name_of(node: ast.expr) -> str:
    """The last part of what is called: `html` of `ui.html`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield name_of(node.func), node


def is_of_ui(call: ast.Call) -> bool:
    """Whether it is `ui.something(…)` or `app.something(…)`."""
    return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)


def constant(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant)


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in call.keywords if one.arg == name), None)


def reads_files_through_rest(tree: ast.AST) -> list[int]:
    return [call.lineno for name, call in calls(tree) if name == "restructured_text"]


def grids_and_charts_with_keys_of_others(tree: ast.AST) -> list[int]:
    """`ui.aggrid` and `ui.echart` run every key that begins with a colon."""
    return [call.lineno for name, call in calls(tree) if name in ("aggrid", "echart", "highchart")]


def columns_named_by_others(tree: ast.AST) -> list[int]:
    """Field names of a table that aren't written in the source, or made as `c0`, `c1`, …"""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "field":
                    made = isinstance(value, ast.JoinedStr) and constant(value.values[0])
                    if not constant(value) and not made:
                        found.append(node.lineno)
    return found


def html_that_is_not_ours(tree: ast.AST) -> list[int]:
    """HTML and Markdown must be constants, or be sanitised, which is NiceGUI's default."""
    found = []
    for name, call in calls(tree):
        if not is_of_ui(call):
            continue
        first = call.args[0] if call.args else keyword(call, "content")
        sanitize = keyword(call, "sanitize")
        loose = isinstance(sanitize, ast.Constant) and sanitize.value is False
        if name in ("html", "markdown", "chat_message", "interactive_image", "mermaid"):
            if (loose or (sanitize is not None and not constant(sanitize))) and not constant(first):
                found.append(call.lineno)
        elif name in ("add_head_html", "add_body_html", "add_css", "add_scss", "add_sass"):
            if not constant(first) and not _is_named_constant(first):
                found.append(call.lineno)
    return found


def script_made_of_text(tree: ast.AST) -> list[int]:
    """`run_javascript` and the methods of elements: constants only; values go as arguments."""
    names = (
        "run_javascript",
        "run_method",
        "run_plot_method",
        "run_chart_method",
        "run_grid_method",
    )
    found = []
    for name, call in calls(tree):
        if name in names and not (call.args and _is_script(call.args[0])):
            found.append(call.lineno)
        handler = keyword(call, "js_handler")
        if handler is not None and not constant(handler):
            found.append(call.lineno)
    return found


def files_served_whole(tree: ast.AST) -> list[int]:
    served = ("add_static_files", "add_media_files", "add_media_file", "StaticFiles")
    return [call.lineno for name, call in calls(tree) if name in served]


def requests_to_elsewhere(tree: ast.AST) -> list[int]:
    """Clients that could be pointed at an address somebody gave; sign-on knows its issuer."""
    modules = {"httpx", "requests", "aiohttp", "urllib.request", "urllib3", "httpx2"}
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
        found += [node.lineno for name in names if name in modules]  # type: ignore[attr-defined]
    return found


def sheets_written(tree: ast.AST) -> list[int]:
    """A sheet needs cells that can't be formulas; only the library writes one."""
    return [call.lineno for name, call in calls(tree) if name in ("DictWriter", "writerow")]


def _is_script(node: ast.expr) -> bool:
    return constant(node) or _is_named_constant(node)


def _is_named_constant(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Name) and node.id.strip("_").isupper()


Check = Callable[[ast.AST], list[int]]
RULES: dict[str, tuple[Check, str, tuple[str, ...]]] = {
    "test_row_24_no_folder_is_served_as_it_is": (
        files_served_whole,
        "app.add_static_files('/x', folder)",
        (),
    ),
    "test_row_30_no_rest_that_includes_files": (
        reads_files_through_rest,
        "ui.restructured_text(notes)",
        (),
    ),
    "test_row_34_no_sheet_is_written_without_a_guard": (
        sheets_written,
        "csv.writer(file).writerow(row)",
        (),
    ),
    "test_row_36_no_grid_or_chart_that_runs_keys": (
        grids_and_charts_with_keys_of_others,
        "ui.aggrid({'rowData': rows})",
        (),
    ),
    "test_row_36_no_column_named_by_a_file": (
        columns_named_by_others,
        "columns = [{'name': n, 'field': n} for n in names]",
        (),
    ),
    "test_row_37_no_html_or_markdown_of_others_unsanitised": (
        html_that_is_not_ours,
        "ui.html(notes, sanitize=False)",
        (),
    ),
    "test_row_39_no_script_made_of_text": (
        script_made_of_text,
        "ui.run_javascript(f'go({name})')",
        (
            "pages/frame.py",  # the theme's cookie, from a fixed list of names
            "pages/live_chart.py",  # the number of the chart's element
        ),
    ),
    "test_row_53_nothing_fetches_for_somebody": (
        requests_to_elsewhere,
        "import httpx",
        (
            "identity/oidc.py",  # its issuer is a setting of the server
            "notices/outbound.py",  # posts to public addresses only; row 51, test_outbound.py
        ),
    ),
}


def find(check: Check, allowed: tuple[str, ...]) -> list[str]:
    return [
        f"{name}:{line}" for name, tree in sources() if name not in allowed for line in check(tree)
    ]


def test_row_24_no_folder_is_served_as_it_is() -> None:
    assert_holds("test_row_24_no_folder_is_served_as_it_is")


def test_row_30_no_rest_that_includes_files() -> None:
    assert_holds("test_row_30_no_rest_that_includes_files")


def test_row_34_no_sheet_is_written_without_a_guard() -> None:
    assert_holds("test_row_34_no_sheet_is_written_without_a_guard")


def test_row_36_no_grid_or_chart_that_runs_keys() -> None:
    assert_holds("test_row_36_no_grid_or_chart_that_runs_keys")


def test_row_36_no_column_named_by_a_file() -> None:
    assert_holds("test_row_36_no_column_named_by_a_file")


def test_row_37_no_html_or_markdown_of_others_unsanitised() -> None:
    assert_holds("test_row_37_no_html_or_markdown_of_others_unsanitised")


def test_row_39_no_script_made_of_text() -> None:
    assert_holds("test_row_39_no_script_made_of_text")


def test_row_53_nothing_fetches_for_somebody() -> None:
    assert_holds("test_row_53_nothing_fetches_for_somebody")


def assert_holds(name: str) -> None:
    check, planted, allowed = RULES[name]
    assert check(ast.parse(planted)), f"the check finds nothing in: {planted}"
    assert find(check, allowed) == []


URL_WORDS = ("url", "uri", "endpoint", "webhook", "callback", "host", "server_path", "jdbc")


def test_row_51_54_no_route_takes_an_address_or_a_path_of_the_server() -> None:
    """So there is nothing to fetch from, and no filter of addresses to get round."""
    for name, tree in sources():
        if not name.startswith(("api/", "gate/upload_routes", "pages/")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
                words = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
            elif isinstance(node, ast.ClassDef) and "BaseModel" in map(name_of, node.bases):
                words = [
                    line.target.id
                    for line in node.body
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
                ]
            else:
                continue
            assert not [word for word in words if set(word.split("_")) & set(URL_WORDS)], name


def test_row_51_54_what_an_upload_is_made_of_has_no_address() -> None:
    from gemma_keras_tune_ui.gate.upload_routes import NewUpload

    assert set(NewUpload.model_fields) == {"purpose", "name", "size", "sha256"}


@pytest.mark.parametrize("word", ["audio(", "video(", "add_media"])
def test_row_58_there_are_no_media_routes(word: str) -> None:
    for path in UI.rglob("*.py"):
        assert f"ui.{word}" not in path.read_text(encoding="utf-8"), path


def test_row_60_redis_is_neither_needed_nor_pinned() -> None:
    assert "redis" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8").lower()
    for path in UI.rglob("*.py"):
        assert "redis" not in path.read_text(encoding="utf-8").lower(), path

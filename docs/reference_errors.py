"""The page of every code: findings about data, errors, and warnings of a run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from docs.markdown_text import one_line, table
from docs.source import PACKAGE, Source, modules
from gemma_keras_tune.data_codes import CODES

_INTRO = """\
# Errors

Everything that a user can mend is a `TuneError` or one of its children, with a stable `code`. The
command line prints its text and ends with code 2 (75 if a run was stopped with a checkpoint, 1 if
the fault is ours). The last event of a run has the same code.

In the messages below, `…` stands for a value that is filled in."""

_OF_THE_APP = """\
## Errors of the web app

On the command line they are like the others. Over HTTP they are `{"code", "message", "request_id"}`
with a status that says their kind: 401 and 403 who you are, 404 not there, 413 and 415 the body,
429 too often."""

_FINDINGS = """\
## Findings about data

`data check` lists them all; a run stops at those of severity error, and its error has the
finding's code. With `data.bad_rows = "skip"`, those marked *by row* leave their rows out and become
warnings."""


_WARNINGS = """\
## Warnings of a run

A run goes on after an event `warning`. Its code is a finding's, or one of these."""


@dataclass(frozen=True, order=True)
class _Raised:
    """One place in the code that gives an error or a warning its code."""

    code: str
    kind: str
    message: str


def page() -> str:
    """The page as Markdown."""
    found = sorted({raised for module in modules() for raised in _raised(module)})
    of_the_app = sorted({raised for module in modules("ui") for raised in _raised(module)})
    errors = [one for one in found if one.kind != "Warned" and one.code not in CODES]
    warnings = [one for one in found if one.kind == "Warned"]
    findings = [
        [f"`{code}`", kind.severity + (", by row" if kind.by_row else ""), kind.fix]
        for code, kind in CODES.items()
    ]
    return "\n\n".join(
        [
            _INTRO,
            "## Errors by code",
            table(["code", "class", "message"], list(_merged(errors))),
            _OF_THE_APP,
            table(["code", "class", "message"], list(_merged(of_the_app))),
            _FINDINGS,
            table(["code", "severity", "what to do"], findings),
            _WARNINGS,
            table(["code", "message"], [[row[0], row[2]] for row in _merged(warnings)]),
        ]
    )


def _merged(found: list[_Raised]) -> Iterator[list[str]]:
    """One row a code, with the messages of all its places."""
    for code in sorted({one.code for one in found}):
        places = [one for one in found if one.code == code]
        kinds = sorted({one.kind for one in places})
        messages = [one.message for one in places if one.message]
        yield [f"`{code}`", ", ".join(f"`{kind}`" for kind in kinds), "<br>".join(messages)]


def _raised(module: str) -> Iterator[_Raised]:
    """Every call in a module that makes an error or a warning with a constant code."""
    source = Source.of_module(module)
    errors, fixed = _error_classes(), _fixed_codes()
    for scope in _scopes(source.tree):
        for call in scope.calls:
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            if name == "Refused":  # its status comes first
                given = dict(zip(("status", "code", "message"), call.args, strict=False))
            for code in _constants(given.get("code") or fixed.get(name), scope.names):
                if name in errors or name == "Warned":
                    message = given.get("message") or (call.args[0] if call.args else None)
                    for text in _messages(source, message, scope.names):
                        yield _Raised(code, name, text)
                elif isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
                    yield _Raised(code, scope.owner, "")


@cache
def _fixed_codes() -> dict[str, ast.expr]:
    """The codes of errors that have no other, by their classes' names."""
    return {
        scope.owner: keyword.value
        for scope in _scopes(Source.of_module("gemma_keras_tune.errors").tree)
        if scope.owner
        for call in scope.calls
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }


@dataclass(frozen=True)
class _Scope:
    """A function: its calls, what its names are bound to, and the class around it."""

    calls: list[ast.Call]
    names: dict[str, ast.expr]
    owner: str


def _scopes(tree: ast.Module) -> Iterator[_Scope]:
    owners = {
        id(child): node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = list(_own(node))
            names = {
                target.id: item.value
                for item in inside
                if isinstance(item, ast.Assign)
                for target in item.targets
                if isinstance(target, ast.Name)
            }
            calls = [item for item in inside if isinstance(item, ast.Call)]
            yield _Scope(calls, names, owners.get(id(node), ""))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes inside a function, without those of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def _constants(value: ast.expr | None, names: dict[str, ast.expr]) -> Iterator[str]:
    """The codes that an expression may give: a constant, either side of an `if`, or a name."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _constants(value.body, names)
        yield from _constants(value.orelse, names)
    elif isinstance(value, ast.Name) and value.id in names:
        yield from _constants(names[value.id], {})


def _messages(source: Source, value: ast.expr | None, names: dict[str, ast.expr]) -> list[str]:
    """A message's texts with `…` for what is filled in; `""` where the code can't be read so."""
    if isinstance(value, ast.Name) and value.id in names:
        value = names[value.id]
    values: list[ast.expr | None] = [value]
    if isinstance(value, ast.Call):  # the function beside it that puts the text together
        called = source.text(value.func).rpartition(".")[2]
        values = [
            item.value
            for node in ast.walk(source.tree)
            if isinstance(node, ast.FunctionDef) and node.name == called
            for item in _own(node)
            if isinstance(item, ast.Return)
        ]
    texts = [one_line(_template(one)) for one in values]
    return [text for text in texts if text.strip("… .:")] or [""]


def _template(value: ast.expr | None) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value).replace("<", "&lt;")
    if isinstance(value, ast.JoinedStr):
        return "".join(_template(part) for part in value.values)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return _template(value.left) + _template(value.right)
    return "…"


def _error_classes() -> set[str]:
    homes = (f"{PACKAGE}.errors", "ui.identity.refusals", "ui.gate.answers")
    trees = [Source.of_module(home).tree for home in homes]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}

"""The page of the public names, and of the values that they take and return."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from docs.markdown_text import docstring_markdown, one_line, summary
from docs.source import PACKAGE, Source

_INTRO = """\
# Python API

```python
import gemma_keras_tune as gkt
```

Public names are imported on first use: `import gemma_keras_tune` alone loads no JAX and no Keras.
Nothing is changed in place; every function takes values and returns a new one."""

# These have pages of their own.
_ELSEWHERE = {
    "gemma_keras_tune.recipe": "recipe.md",
    "gemma_keras_tune.event_types": "events.md",
}


def page() -> str:
    """The page as Markdown."""
    package = Source.of_module(PACKAGE)
    homes = _homes(package)
    functions, classes = [], {}
    for name, module in homes.items():
        source = Source.of_module(f"{PACKAGE}.{module}")
        node = source.definition(name)
        if isinstance(node, ast.ClassDef):
            classes[name] = source
        elif node is not None:
            functions.append((source, node))
    for source, node in functions:
        _add_values(source, node.returns, classes)
    for name, source in list(classes.items()):
        _add_fields(source, name, classes)
    errors = Source.of_module(f"{PACKAGE}.errors")
    parts = [_INTRO, "## Functions", *(_function(source, node) for source, node in functions)]
    parts.append("## Values")
    parts += [_value(classes[name], name) for name in sorted(classes) if name != "TuneError"]
    parts.append("## Errors\n\nCodes and messages are listed under [errors](errors.md).")
    parts += [
        _error(node)
        for node in errors.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    return "\n\n".join(parts)


def _homes(package: Source) -> dict[str, str]:
    """Public name to the module that defines it, from the package's table."""
    for node in package.tree.body:
        if isinstance(node, ast.Assign) and package.text(node.targets[0]) == "_HOME_OF":
            homes: dict[str, str] = ast.literal_eval(node.value)
            return dict(sorted(homes.items()))
    raise ValueError("gemma_keras_tune/__init__.py has no table _HOME_OF")


def _add_values(source: Source, annotation: ast.AST | None, classes: dict[str, Source]) -> None:
    """Add the classes of this package that an annotation names, and those in their fields."""
    for name in _names(annotation):
        home = source.home_of(name)
        if home is None or name in classes or home.module in _ELSEWHERE:
            continue
        if isinstance(home.definition(name), ast.ClassDef):
            classes[name] = home
            _add_fields(home, name, classes)


def _add_fields(source: Source, name: str, classes: dict[str, Source]) -> None:
    node = source.definition(name)
    if isinstance(node, ast.ClassDef) and source.module not in _ELSEWHERE:
        for field in source.fields(node):
            _add_values(source, field.annotation, classes)


def _names(annotation: ast.AST | None) -> Iterator[str]:
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Name):
            yield node.id


def _function(source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    code = f"```python\n{source.signature(node)}\n```"
    return f"### `{node.name}`\n\n{code}\n\n{docstring_markdown(ast.get_docstring(node))}"


def _value(source: Source, name: str) -> str:
    node = source.definition(name)
    if not isinstance(node, ast.ClassDef):
        raise ValueError(f"{name} is no class of {source.module}")
    parts = [f"### `{name}`"]
    if source.module in _ELSEWHERE:
        page = _ELSEWHERE[source.module]
        parts.append(f"{summary(ast.get_docstring(node))} Its settings: [{page}]({page}).")
    else:
        fields = [_field(source, field) for field in source.fields(node)]
        if fields:
            parts.append("```python\n" + "\n".join(fields) + "\n```")
        parts.append(docstring_markdown(ast.get_docstring(node), of_class=True))
    methods = list(_methods(source, node))
    if methods:
        parts.append("**Methods**\n\n" + "\n".join(methods))
    return "\n\n".join(parts)


def _field(source: Source, field: ast.AnnAssign) -> str:
    text = f"{source.text(field.target)}: {one_line(source.text(field.annotation))}"
    if field.value is None or "field(" in source.text(field.value):
        return text
    return f"{text} = {one_line(source.text(field.value))}"


def _methods(source: Source, node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if not isinstance(item, ast.FunctionDef) or item.name.startswith("_"):
            continue
        decorators = {source.text(one) for one in item.decorator_list}
        code = item.name
        if not decorators & {"property", "cached_property"}:
            code = one_line(source.signature(item)).replace("( ", "(").replace(", )", ")")
        elif item.returns is not None:
            code += f": {source.text(item.returns)}"
        yield f"- `{code}`: {summary(ast.get_docstring(item))}"


def _error(node: ast.ClassDef) -> str:
    parent = node.bases[0]
    above = f" ({parent.id})" if isinstance(parent, ast.Name) else ""
    return f"### `{node.name}`{above}\n\n{docstring_markdown(ast.get_docstring(node))}"

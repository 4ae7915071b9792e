"""Python source as data: definitions, signatures and imports, without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from docs.markdown_text import one_line

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "gemma_keras_tune"
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Source:
    """The text of one module of the package.

    Args:
        module: Dotted name.
        code: Its source.
    """

    module: str
    code: str

    @staticmethod
    @cache
    def of_module(module: str) -> Source:
        """The source of `module`."""
        path = ROOT / Path(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return Source(module, file.read_text(encoding="utf-8"))

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.code)

    def text(self, node: ast.AST) -> str:
        """The source text of a node, as somebody wrote it."""
        return ast.get_source_segment(self.code, node) or ""

    def definition(self, name: str) -> Definition | None:
        """The function or class of this name, or None."""
        for node in self.tree.body:
            if isinstance(node, Definition) and node.name == name:
                return node
        return None

    def home_of(self, name: str) -> Source | None:
        """The module of this package that defines a name which is used here, or None."""
        if self.definition(name):
            return self
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and any(one.name == name for one in node.names):
                package = self.module.split(".")[: -node.level] if node.level else []
                home = ".".join([*package, *(node.module or "").split(".")]).strip(".")
                return Source.of_module(home).home_of(name) if home.startswith(PACKAGE) else None
        return None

    def signature(self, node: ast.FunctionDef | ast.AsyncFunctionDef, *, name: str = "") -> str:
        """`name(arguments) -> type`, on one line if it is short."""
        arguments = list(self._arguments(node.args))
        end = f" -> {one_line(self.text(node.returns))}" if node.returns else ""
        short = f"{name or node.name}({', '.join(arguments)}){end}"
        if len(short) <= 88:
            return short
        lines = "".join(f"    {argument},\n" for argument in arguments)
        return f"{name or node.name}(\n{lines}){end}"

    def fields(self, node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
        """The annotated public fields of a dataclass."""
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                if not item.target.id.startswith("_"):
                    yield item

    def _arguments(self, args: ast.arguments) -> Iterator[str]:
        positional = [*args.posonlyargs, *args.args]
        missing: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
        for argument, default in zip(positional, [*missing, *args.defaults], strict=True):
            if argument.arg not in ("self", "cls"):
                yield self._argument(argument, default)
        if args.vararg:
            yield "*" + self._argument(args.vararg, None)
        elif args.kwonlyargs:
            yield "*"
        for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            yield self._argument(argument, default)
        if args.kwarg:
            yield "**" + self._argument(args.kwarg, None)

    def _argument(self, argument: ast.arg, default: ast.expr | None) -> str:
        text = argument.arg
        if argument.annotation:
            text += f": {one_line(self.text(argument.annotation))}"
        if default is not None:
            text += f" = {one_line(self.text(default))}"
        return text


def modules(package: str = PACKAGE) -> list[str]:
    """Every module of a package, sorted; `ui` is the web app's, by the name of its folder."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [file.relative_to(ROOT).with_suffix("") for file in files]
    return [".".join(name.parts) for name in names if name.name != "__init__"]

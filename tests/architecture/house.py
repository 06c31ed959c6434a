"""The house as its own source tells it: modules, their definitions and their texts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trunkline

ROOT = Path(trunkline.__file__).parent
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Module(NamedTuple):
    """One file: its dotted name, its room, and its syntax tree."""

    name: str
    room: str
    path: Path
    tree: ast.Module


@cache
def modules() -> dict[str, Module]:
    """Every module of the product by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        name = ".".join(parts)
        found[name] = Module(name, parts[1] if len(parts) > 1 else "__init__", path, ast.parse(path.read_text("utf-8")))
    return found


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """(dotted name within the module, definition) of every class, function and method, nested ones too."""
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, parent = waiting.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, Definition):
                yield prefix + node.name, node
                waiting.append((f"{prefix}{node.name}.", node))
            else:
                waiting.append((prefix, node))


def texts(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(text, line) of every string that is no docstring; of an f-string its constant parts."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, Definition | ast.Module) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value, node.lineno

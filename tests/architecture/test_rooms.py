"""The map in README and CONTRIBUTING, held by reading every import with `ast`, those under TYPE_CHECKING included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trunkline

ROOT = Path(trunkline.__file__).parent
WORDS = {"model", "errors", "settings", "observe"}
EVERYTHING = {"*"}
# room -> rooms it may import from, besides itself
ALLOWED: dict[str, set[str]] = {
    "sql": set(),
    "errors": set(),
    "settings": {"errors"},
    "observe": set(),
    "model": {"errors"},
    "embedded": {"settings", "errors", "observe"},
    "store": WORDS | {"sql"},
    "engine": WORDS | {"store"},
    "connections": WORDS | {"store"},
    "jobtypes": WORDS | {"engine", "connections"},
    "realtime": WORDS | {"store"},
    "wire": {"model", "errors"},
    "client": {"wire", "model", "errors"},
    "auth": {"store", "model", "errors", "settings"},
    "audit": WORDS | {"store"},
    "rest": WORDS | {"engine", "realtime", "connections", "audit", "auth", "wire"},
    "gateway": WORDS | {"engine", "realtime", "auth", "wire"},
    "compat": WORDS | {"store", "engine", "app"},
    "testing": EVERYTHING,
    "measure": EVERYTHING,
    "cli": EVERYTHING,
    # the composition root: three files
    "app": WORDS | {"store", "engine", "realtime", "embedded", "connections", "jobtypes", "hosting"},
    "hosting": WORDS | {"store", "engine", "realtime", "auth", "gateway", "rest", "doors"},
    "doors": WORDS | {"store", "engine", "realtime", "auth", "gateway", "rest", "jobtypes"},
    "": EVERYTHING,
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(path: Path) -> Iterator[str]:
    """Our own modules that a file imports, without the package's name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name.removeprefix("trunkline").removeprefix(".") for name in names if name.split(".")[0] == "trunkline")


def room_of(module: str) -> str:
    return module.split(".")[0]


def test_a_room_imports_only_from_rooms_below_it():
    """One upward import and the staircase is a ball of wool."""
    upward = [
        f"{module or '__init__'} imports {imported}"
        for module, path in modules()
        for imported in imports_of(path)
        if room_of(imported) not in ALLOWED[room_of(module)] | {room_of(module), ""} and "*" not in ALLOWED[room_of(module)]
    ]

    assert [] == upward


def test_modules_do_not_import_each_other_in_circles():
    """TYPE_CHECKING imports count: a circle that only the type checker sees is still a circle for the reader."""
    known = {module for module, _ in modules()}
    graph = {
        module: {i for i in imports_of(path) if i in known and i != module and not module.startswith(f"{i}.")} for module, path in modules()
    }
    circles = []
    for start in graph:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            if (module := todo.pop()) not in seen:
                seen.add(module)
                todo.extend(graph[module] if "." in module else ())
        if start in seen and "." in start:
            circles.append(start)

    assert [] == circles


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_only_the_store_knows_the_driver(driver):
    """Elsewhere a connection is something that `store` hands out; measuring and sample data speak to servers of their own."""
    users = {room_of(module) for module, path in modules() if f"import {driver}" in path.read_text("utf-8")}

    assert users <= {"store", "measure"}


def test_sql_stands_in_sql_and_store_only():
    """A rule that hides in Python cannot be followed by psql."""
    words = ("select trunkline.", "* from trunkline.", "insert into ", "delete from ", "update trunkline.")
    strangers = []
    for module, path in modules():
        if room_of(module) in {"sql", "store", "measure", "testing"}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and any(word in node.value for word in words):
                strangers.append(f"{module}:{node.lineno} {node.value[:60]!r}")

    assert [] == [s for s in strangers if "select trunkline.enqueue" not in s and "select trunkline.tenant_id" not in s]


@pytest.mark.parametrize("name", ["trunkline", "trunkline.model", "trunkline.errors", "trunkline.client", "trunkline.client.blocking"])
def test_importing_the_words_loads_no_driver(name):
    """`import trunkline` is cheap: names load on first use. A remote worker has no server with it."""
    code = f"import sys, {name}; print(sorted({{'asyncpg', 'fastapi', 'sqlalchemy', 'starlette', 'uvicorn'}} & set(sys.modules)))"

    assert "[]" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_no_file_is_longer_than_one_concept():
    """Above 400 lines (300 for SQL) a file holds more than one."""
    limits = {"*.py": 400, "*.sql": 300}
    long = [
        f"{path.relative_to(ROOT)}: {lines}"
        for pattern, limit in limits.items()
        for path in ROOT.rglob(pattern)
        if (lines := path.read_text("utf-8").count("\n")) > limit
    ]

    assert [] == long


def test_no_function_is_longer_than_a_screen():
    """Sixty lines without its docstring; most have forty at the most."""
    long = []
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body and (node.end_lineno or 0) - body[0].lineno > 60:
                    long.append(f"{module}.{node.name}")

    assert [] == long

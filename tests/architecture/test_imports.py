"""The staircase: a room imports only from rooms that are drawn lower, and no module waits for itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.house import imports, modules

WORDS = {"model", "errors", "settings", "observe"}
EVERYTHING = None
MAY_IMPORT: dict[str, set[str] | None] = {
    "errors": set(),
    "sql": set(),
    "observe": set(),
    "model": {"errors"},
    "settings": {"errors"},
    "wire": {"model", "errors"},
    "store": {"sql", *WORDS},
    "embedded": {"settings", "errors", "observe"},
    "engine": {"store", *WORDS},
    "realtime": {"store", *WORDS},
    "auth": {"store", "model", "errors", "settings"},
    "audit": {"store", *WORDS},
    "connections": {"store", *WORDS},
    "notifications": {"engine", "store", *WORDS},
    "campaigns": {"engine", "store", *WORDS},
    "jobtypes": {"engine", "connections", "campaigns", "notifications", *WORDS},
    "gateway": {"engine", "realtime", "audit", "auth", "wire", *WORDS},
    "rest": {"engine", "realtime", "notifications", "campaigns", "connections", "audit", "auth", "wire", *WORDS},
    "dashboard": {"engine", "realtime", "notifications", "campaigns", "connections", "audit", "auth", "wire", *WORDS},
    "client": {"wire", "model", "errors"},
    "compat": {"engine", *WORDS},
    "app": EVERYTHING,
    "cli": EVERYTHING,
    "measure": EVERYTHING,
    "testing": EVERYTHING,
    "__init__": EVERYTHING,  # names load on first use
}
# Composition knows everybody; nobody below may know composition.
COMPOSITION = {"app", "cli", "measure", "testing"}


def test_every_room_is_on_the_map():
    """A new room says what it may import before it imports anything."""
    assert set() == {module.room for module in modules().values()} - MAY_IMPORT.keys()


def test_a_room_imports_only_from_rooms_below_it():
    """Imports under TYPE_CHECKING and inside functions count."""
    upward = [
        f"{module.name}:{line} imports {target}"
        for module in modules().values()
        for target, line in imports(module)
        if (allowed := MAY_IMPORT[module.room]) is not None
        and (room := modules()[target].room if target in modules() else target.split(".")[1]) != module.room
        and room not in allowed
    ]

    assert [] == upward


def test_nobody_below_imports_the_composition():
    """`cli`, `measure` and `testing` are leaves; `app` is known to them alone."""
    wrong = [
        f"{module.name}:{line} imports {target}"
        for module in modules().values()
        for target, line in imports(module)
        if target in modules() and modules()[target].room in COMPOSITION and module.room not in {*COMPOSITION, "__init__"}
    ]

    assert [] == wrong


def test_every_import_names_a_module_that_exists():
    """A misspelt import under TYPE_CHECKING never runs, so nobody else would notice."""
    assert [] == [f"{m.name}:{line} imports {target}" for m in modules().values() for target, line in imports(m) if target not in modules()]


def test_no_module_waits_for_itself():
    """No cycle, TYPE_CHECKING included: what cannot be said in one direction is in the wrong file."""
    graph = {name: {target for target, _ in imports(module)} - {name} for name, module in modules().items() if name != "trunkline"}
    done: set[str] = set()
    cycles: list[str] = []

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycles.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                walk(target, (*path, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())

    assert [] == cycles


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("trunkline", ["asyncpg", "fastapi", "sqlalchemy", "psycopg", "pydantic", "msgspec", "structlog"]),
        ("trunkline.errors", ["asyncpg", "fastapi", "pydantic", "msgspec"]),
        ("trunkline.model", ["asyncpg", "fastapi", "sqlalchemy", "psycopg", "structlog"]),
        ("trunkline.settings", ["asyncpg", "fastapi", "sqlalchemy", "psycopg"]),
        ("trunkline.app", ["fastapi", "sqlalchemy", "psycopg", "typer", "rich", "pytest"]),
    ],
)
def test_importing_a_part_does_not_import_the_whole(module, absent):
    """A producer in a web process should not pay for what it does not use."""
    asked = f"import {module}, sys; print(*[name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)

    assert "" == done.stdout.strip()


def test_every_public_name_of_the_package_loads():
    """Names load on first use; a misspelt home would be noticed by users only."""
    asked = "import trunkline; print(*[getattr(trunkline, name).__name__ for name in trunkline.__all__])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)

    assert "Enqueued Fail Job JobView NewJob Policy RetryAfter Snooze Trunkline new_job" == done.stdout.strip()

"""Sizes, names and documentation: the numbers that the house holds itself to. The rooms themselves: test_rooms."""

from __future__ import annotations

import ast
import re
from statistics import median

from tests.architecture.house import ROOT, definitions, modules, texts

FUNCTION_LINES, MEDIAN_LINES = 60, 160
FORBIDDEN = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
SQL = re.compile(
    r"^\s*(select\s|insert\s+into\s|update\s+\w+(\.\w+)?\s+(as\s+\w+\s+)?set\s|delete\s+from\s|truncate\s|with\s+\w+\s+as\s*\(|(create|drop|alter)\s+(or\s+replace\s+)?"
    r"(table|function|index|database|schema|view|extension)\s+\w+|copy\s+\w+\s+(from|to)\b)",
    re.IGNORECASE,
)
# Where SQL text may stand besides sql/ and store/, and why.
SQL_ELSEWHERE = {
    "trunkline.jobtypes.schema": "asks databases that users registered about their own catalogs",
    "trunkline.jobtypes.dumping": "writes the schema of databases that users registered as SQL",
    "trunkline.testing.clock": "replaces the one clock function, in databases of tests",
    "trunkline.engine.producer": "names a tenant on the caller's own connection",
    "trunkline.measure": "the raw-SQL floors that the product is measured against",
}


def test_the_median_module_is_short():
    """Most of them much shorter than the limit."""
    assert median(len(m.path.read_text("utf-8").splitlines()) for m in modules().values() if m.path.name != "__init__.py") <= MEDIAN_LINES


def test_sql_functions_are_short():
    """The body between its dollars."""
    long = {}
    for path in sorted((ROOT / "sql" / "functions").glob("*.sql")):
        for name, body in re.findall(r"create or replace function trunkline\.(\w+)\(.*?\$\$(.*?)\$\$", path.read_text("utf-8"), re.DOTALL):
            if (count := len(body.strip().splitlines())) > FUNCTION_LINES:
                long[f"{path.stem}: {name}"] = count

    assert {} == long


def test_no_file_is_called_after_nothing():
    """One name per thing; `utils` names none."""
    assert [] == [str(path) for path in ROOT.rglob("*") if path.stem.lower() in FORBIDDEN]


def test_sql_text_stands_where_sql_belongs():
    """SQL decides, Python carries: outside sql/ and store/ no statement is spelled."""
    stray = [
        f"{module.name}:{line} {text.strip().splitlines()[0][:60]}"
        for module in modules().values()
        if module.room not in ("sql", "store") and not any(module.name.startswith(place) for place in SQL_ELSEWHERE)
        for text, line in texts(module.tree)
        if SQL.match(text)
    ]

    assert [] == stray


def test_every_module_says_what_it_is():
    """A page of the house begins with a sentence."""
    assert [] == [name for name, module in modules().items() if not ast.get_docstring(module.tree)]


def test_every_public_name_is_documented():
    """Classes, functions and methods that do not begin with an underscore; nested functions are their parent's affair."""
    bare = []
    for module in modules().values():
        functions = {name for name, node in definitions(module.tree) if not isinstance(node, ast.ClassDef)}
        for name, node in definitions(module.tree):
            parts = name.split(".")
            is_nested = any(".".join(parts[:n]) in functions for n in range(1, len(parts)))
            is_overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
            if not any(part.startswith("_") for part in parts) and not is_nested and not is_overload and not ast.get_docstring(node):
                bare.append(f"{module.name}.{name}")

    assert [] == bare


def test_every_sql_file_says_what_it_is():
    """A migration also says which code it works with."""
    for path in sorted((ROOT / "sql").rglob("*.sql")):
        text = path.read_text("utf-8")

        assert text.startswith("-- "), path.name
        assert path.parent.name != "migrations" or text.startswith("-- Works with code from: "), path.name


def test_every_error_has_a_code_of_its_own():
    """The code is what the wire and REST answer with."""
    from trunkline import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.TrunklineError)]

    assert len(classes) == len({cls.code for cls in classes})
    assert [] == [cls.__name__ for cls in classes if not re.fullmatch(r"[a-z][a-z_]*", cls.code) or not cls.__doc__]


def test_nobody_waits_by_wait_for():
    """`asyncio.wait_for` of Python 3.11 may lose a cancellation that comes as the wait ends: a loop goes on, and whoever stops it waits
    for ever. `async with asyncio.timeout(...)` does not. (The bench's own processes end by other means.)"""
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules().values()
        if module.room != "measure"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == "wait_for" and isinstance(node.value, ast.Name) and node.value.id == "asyncio"
    ]

    assert [] == found

"""`trunkline config show`, where each setting comes from, and `trunkline version`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json
from trunkline.cli.run import refusals

if TYPE_CHECKING:
    from rich.text import Text

    from trunkline.settings import Settings

CONNECTION = "CONNECTION_"  # TRUNKLINE_CONNECTION_SHOP registers the database `shop`
ELSEWHERE = frozenset(
    {"TRUNKLINE_TEST_DATABASE_URL", "TRUNKLINE_TEST_DIR", "TRUNKLINE_BENCH_DATABASE_URL", "TRUNKLINE_BENCH_NODE"}
)  # known to other parts of the package
config = typer.Typer(no_args_is_help=True, help="What this process would run with.")


@config.callback()
def _group() -> None:
    """What this process would run with."""


@config.command("show")
def show_config(as_json: Json = False) -> None:
    """Every setting with its value and where it comes from; passwords and keys are masked."""
    with refusals(as_json=as_json):
        from trunkline.cli.reach import load_settings

        settings = rows(load_settings(), os.environ)
        connections, unknown = registered(os.environ), unknown_variables(os.environ)
    if as_json:
        show.emit({"settings": settings, "connections": connections, "unknown": sorted(unknown)})
        return
    show.draw(show.table(("variable", "value", "from"), map(_row, settings), cut="value"))
    if connections:
        show.say("\nRegistered databases", style="bold")
        show.draw(show.facts((each["id"], each["url"]) for each in connections))
    warn(unknown)


def warn(unknown: Mapping[str, str | None]) -> None:
    """Say which variables are read by nobody."""
    for name, meant in unknown.items():
        show.say(f"warning: {name} is set and means nothing" + (f": did you mean {meant}?" if meant else "."), style="yellow", stderr=True)


def warn_of_misspelt(environ: Mapping[str, str]) -> None:
    """The same of those that look like a setting, for processes that start; a plug-in may read others."""
    warn({name: meant for name, meant in unknown_variables(environ).items() if meant})


def version(as_json: Json = False) -> None:
    """The versions of everything that matters."""
    document = _versions()
    if as_json:
        show.emit(document)
    else:
        show.draw(show.facts(document.items(), label=12))


def _row(setting: Mapping[str, Any]) -> list[str | Text]:
    from rich.text import Text

    value, style = setting["value"], "dim" if setting["source"] == "default" else ""
    shown = show.span(value) if setting["unit"] == "s" else "-" if value is None else show.visible(value)
    return [Text(text, style=style) for text in (setting["variable"], shown, setting["source"])]


def rows(settings: Settings, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """{variable, value, unit, source} of each setting, in the order in which they are declared; unit is "s" or None."""
    from pydantic import SecretStr

    from trunkline.settings import is_secret
    from trunkline.settings import variable as variable_of

    values = settings.model_dump()
    found = []
    for field, value in values.items():
        variable = variable_of(field)
        if isinstance(value, SecretStr) or (value and is_secret(field)):
            shown: Any = "***"
        else:
            shown = show.masked(value) if isinstance(value, str) and "://" in value else value
        found.append(
            {"variable": variable, "value": shown, "unit": "s" if field.endswith("_s") else None, "source": _source(variable, environ)}
        )
    return found


def registered(environ: Mapping[str, str]) -> list[dict[str, str]]:
    """{id, url} of the databases that jobs may name."""
    from trunkline.settings import PREFIX

    names = sorted(name for name in environ if name.startswith(PREFIX + CONNECTION) and name not in _known())
    return [{"id": name.removeprefix(PREFIX + CONNECTION).lower().replace("_", "-"), "url": show.masked(environ[name])} for name in names]


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """TRUNKLINE_ variables that nothing reads, each with the one that was probably meant."""
    from trunkline.settings import PREFIX

    known = _known()
    strange = [
        name
        for name in environ
        if name.startswith(PREFIX) and not name.startswith(PREFIX + CONNECTION) and name not in (*known, *ELSEWHERE)
    ]
    names = {each.removeprefix(PREFIX): each for each in known}  # with it everything looks alike
    near = {name: get_close_matches(name.removeprefix(PREFIX), names, n=1, cutoff=0.7) for name in sorted(strange)}
    return {name: names[found[0]] if found else None for name, found in near.items()}


def _known() -> list[str]:
    """Every variable that is read, with those that name a file instead."""
    from trunkline.settings import IN_FILE, Settings
    from trunkline.settings import variable as variable_of

    return [each for field in Settings.model_fields for each in (variable_of(field), variable_of(field) + IN_FILE)]


def _source(variable: str, environ: Mapping[str, str]) -> str:
    from trunkline.settings import ALIASES, IN_FILE, PREFIX

    if environ.get(variable + IN_FILE):
        return f"file, as {variable}{IN_FILE}"
    if environ.get(variable):
        return "environment"
    for alias, (name, _) in ALIASES.items():
        if PREFIX + name == variable and environ.get(alias):
            return f"environment, as {alias}"
    return "default"


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    from trunkline.embedded import find_binaries
    from trunkline.errors import EmbeddedFailed

    def installed(package: str) -> str | None:
        try:
            return of(package)
        except PackageNotFoundError:
            return None

    try:
        found = find_binaries(os.environ.get("TRUNKLINE_PG_BIN_DIR"))
        postgresql: str | None = f"{found.version}, from {found.source}"
    except EmbeddedFailed:
        postgresql = None
    return {
        "trunkline": of("trunkline"),
        "python": sys.version.split()[0],
        "asyncpg": installed("asyncpg"),
        "uvloop": installed("uvloop"),
        "postgresql": postgresql,
    }

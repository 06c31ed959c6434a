"""`trunkline jobtypes list`: the job types that come by themselves, built in or from installed packages.

Always true: nothing is connected to; a plug-in that fails is listed with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json
from trunkline.cli.run import refusals

if TYPE_CHECKING:
    from rich.text import Text

    from trunkline.app import Trunkline

jobtypes = typer.Typer(no_args_is_help=True, help="Job types that come by themselves.")


@jobtypes.callback()
def _group() -> None:
    """Job types that come by themselves."""


@jobtypes.command("list")
def list_jobtypes(as_json: Json = False) -> None:
    """Built-in job types and those of installed packages; TRUNKLINE_JOBTYPES_OFF switches off by name."""
    with refusals(as_json=as_json):
        found = documents()
    if as_json:
        show.emit({"jobtypes": found})
        return
    show.draw(show.table(("name", "state", "package", "kinds"), map(_row, found), cut="kinds"))


def documents() -> list[dict[str, Any]]:
    """{name, package, state, kinds, skipped, reason} of each, the built-in ones first."""
    from trunkline.app import Trunkline
    from trunkline.cli.reach import load_settings

    app = Trunkline(settings=load_settings())
    declare_built_in(app)
    built_in = {"name": "built-in", "package": "trunkline", "kinds": sorted(handler.kind for handler in app.registry)}
    first = {**built_in, "state": "on" if len(app.registry) else "off", "skipped": [], "reason": None}
    return [
        first,
        *(
            {
                "name": plugin.name,
                "package": plugin.package,
                "kinds": list(plugin.kinds),
                "state": plugin.state,
                "skipped": list(plugin.skipped),
                "reason": plugin.reason,
            }
            for plugin in app.load_plugins()
        ),
    ]


def declare_built_in(app: Trunkline) -> None:
    """Declare the built-in job types that are not switched off."""
    from trunkline.jobtypes import BUILT_IN, plugins

    for register in BUILT_IN:
        register(app)
    app.registry = plugins.without(app.registry, (name.replace("_", "-") for name in app.settings.jobtypes_switched_off))


def _row(found: dict[str, Any]) -> list[str | Text]:
    kinds = ", ".join(found["kinds"])
    skipped = f" (not declared: {', '.join(found['skipped'])})" if found["skipped"] else ""
    what = found["reason"] if found["state"] == "failed" else kinds + skipped
    return [show.short(found["name"], 40), found["state"], show.short(found["package"], 40), show.short(what, 200)]

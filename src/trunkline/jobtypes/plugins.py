"""Job types of installed packages: what a package names under the entry point group `trunkline.jobtypes` appears by itself.

An entry point leads to a function that takes the application and declares handlers on it, as the built-in job types do:

    [project.entry-points."trunkline.jobtypes"]
    acme-mail = "acme_mail.jobs:register"

Always true: a plug-in that cannot be imported or declared is reported, leaves nothing behind and stops nobody; a kind that the
application itself declares stays the application's; a kind that two plug-ins declare is refused with both names.
Called by: app (load_plugins), cli.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, Protocol

import structlog

from trunkline.engine import Handler, Hooks, Privacy, Registry, Schedules
from trunkline.errors import InvalidInput

GROUP = "trunkline.jobtypes"
ALL = "all"  # in TRUNKLINE_JOBTYPES_OFF: every plug-in
State = Literal["on", "off", "failed"]
log = structlog.get_logger("trunkline.jobtypes")


class Application(Protocol):
    """The part of an application that a plug-in changes; the plug-in itself sees all of it."""

    registry: Registry
    hooks: Hooks
    privacy: Privacy
    schedules: Schedules


@dataclass(frozen=True, slots=True)
class PlugIn:
    """An installed package's job types.

    Attributes:
        name: of its entry point; what TRUNKLINE_JOBTYPES_OFF names. package: the distribution's name and version.
        kinds: what it declared. skipped: kinds of its that the application declares itself, or that are switched off.
        reason: why it failed.
    """

    name: str
    package: str
    state: State
    kinds: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    reason: str | None = None


def load(app: Application, off: frozenset[str], *, found: Iterable[EntryPoint] | None = None) -> list[PlugIn]:
    """Declare the handlers of every plug-in that is not switched off, by name; what became of each.

    Args:
        off: names of plug-ins and of kinds that are not declared, and `all`.
        found: entry points; None: those of the installed packages.
    Raises:
        InvalidInput: two plug-ins declare the same kind; names both.
    """
    skipped = {handler.kind for handler in app.registry} | {name.replace("_", "-") for name in off}
    owners: dict[str, str] = {}
    loaded = []
    for point in sorted(entry_points(group=GROUP) if found is None else found, key=lambda point: point.name):
        if ALL in off or point.name in off:
            loaded.append(PlugIn(point.name, _package(point), "off"))
            continue
        plugin, handlers = _declared(app, point, skipped)
        for handler in handlers:
            if handler.kind in owners:
                raise InvalidInput(
                    f"the kind {handler.kind!r} is declared by two plug-ins, {owners[handler.kind]!r} and {point.name!r}. "
                    f"Switch one off: TRUNKLINE_JOBTYPES_OFF={point.name}"
                )
            owners[handler.kind] = point.name
            app.registry.add(handler)
        loaded.append(plugin)
    return loaded


def without(registry: Registry, kinds: Iterable[str]) -> Registry:
    """The same handlers but those of these kinds."""
    unwanted, kept = set(kinds), Registry()
    for handler in registry:
        if handler.kind not in unwanted:
            kept.add(handler)
    return kept


def _declared(app: Application, point: EntryPoint, skipped: set[str]) -> tuple[PlugIn, list[Handler]]:
    """Let it declare on a registry of its own; what it was, and the handlers to take over."""
    before, hooks_before, declared_before = app.registry, app.hooks, app.privacy.kept()
    schedules_before = app.schedules.declared_count()
    app.registry, app.hooks = Registry(), hooks_before.copy()
    try:
        register: Callable[[Any], object] = point.load()
        if not callable(register):
            raise InvalidInput(f"{point.value} is a {type(register).__name__}: need a function that takes the application.")
        register(app)
        mine = list(app.registry)
        app.schedules.keep_only(schedules_before, skipped)
    except Exception as error:  # noqa: BLE001 - somebody else's code: whatever it raised, the worker goes on without it
        app.hooks = hooks_before
        app.privacy.keep_only(declared_before, ())
        app.schedules.keep_only(schedules_before, None)
        reason = f"{type(error).__name__}: {error}"
        log.error("jobtypes.plugin_failed", plugin=point.name, package=_package(point), error=reason)
        return PlugIn(point.name, _package(point), "failed", reason=reason), []
    finally:
        app.registry = before
    taken = [handler for handler in mine if handler.kind not in skipped]
    app.privacy.keep_only(declared_before, [handler.kind for handler in taken])
    left = tuple(sorted(handler.kind for handler in mine if handler.kind in skipped))
    if left:
        log.warning(
            "jobtypes.kinds_skipped", plugin=point.name, kinds=left, reason="the application declares them, or they are switched off"
        )
    return PlugIn(point.name, _package(point), "on", tuple(sorted(handler.kind for handler in taken)), left), taken


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "?"

"""Schedules: jobs that are made when a rule says so, created at run time or declared beside their handlers.

Always true: a rule that cannot come true is refused when it is saved; what `@app.schedule` declares is written by name when a
worker starts, and changes nothing where it is as it was. Firing is the affair of worker processes (scheduler).
Part of the application: `app.schedules`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal, NamedTuple
from uuid import UUID

import structlog

from trunkline.engine import keeping
from trunkline.engine.handlers import Registry
from trunkline.engine.reach import Reach
from trunkline.engine.vault import sealed_text
from trunkline.errors import InvalidInput, NotFound, SecretInPayload, Unavailable
from trunkline.model import Rule, ScheduleView, checked_kept, checked_name, checked_rule, kind_name
from trunkline.model.policy import whole
from trunkline.model.secret_fields import Envelope
from trunkline.store import schedules
from trunkline.store.schedules import Firing

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip"]
WORK = ("template", "payload", "missed", "missed_limit", "overlap")
RULE = ("cron", "every", "at", "start", "tz")
KEPT = object()  # a payload that a change says nothing about
log = structlog.get_logger("trunkline.schedules")


class Saved(NamedTuple):
    """A schedule as it is now; `created`: there was none of its name."""

    schedule: ScheduleView
    created: bool


class Schedules:
    """Make, change, pause and look at schedules of one tenant."""

    def __init__(self, app: Reach) -> None:
        self._app = app
        self._declared: builtins.list[tuple[str, str | None, Rule, dict[str, Any], Callable[[], str | None]]] = []

    async def create(self, name: str, kind: str | None = None, payload: Any = None, **what: Any) -> ScheduleView:
        """Make a schedule, or replace the one of that name; a paused one stays paused. Arguments and errors as of `save`."""
        return (await self.save(name, kind, payload, **what)).schedule

    async def save(
        self,
        name: str,
        kind: str | None = None,
        payload: Any = None,
        *,
        cron: str | None = None,
        every: float | timedelta | None = None,
        at: datetime | None = None,
        tz: str = "UTC",
        start: datetime | None = None,
        template: str | None = None,
        missed: Missed = "once",
        missed_limit: int = 100,
        overlap: Overlap = "allow",
        tenant: str | None = None,
        **options: Any,
    ) -> Saved:
        """As `create`, and also whether the schedule is new.

        Args:
            kind, payload, options: of the jobs, as of `new_job`; or `template` instead of `kind`, then over the template's.
            cron, tz: five fields, or six with seconds first, read in an IANA time zone.
            every, start: seconds or timedelta (1 s to 10 years), counted from `start`, which is the first; None: from now.
            at: once, at that aware time.
            missed: what is done about times at which no worker was there (for over a minute): nothing, one firing for the
                latest, or one for each of the latest `missed_limit` (1..1000).
            overlap: "skip" makes no job while one that it made is live (it is its unique key).
        Raises:
            InvalidInput: names what is wrong; nothing was saved. NotFound: there is no such template.
            MustEncrypt: the kind is encrypted and this process has no key.
        """
        rule = checked_rule(cron, every=every, at=at, tz=tz, start=start)
        work = await self._allowed(tenant, name, kind, template, payload, missed, missed_limit, overlap, options)
        word = await self._save(tenant, name, rule, work, declared=False)
        return Saved(await self.get(name, tenant=tenant), word == "created")

    async def update(self, name: str, *, tenant: str | None = None, **changes: Any) -> ScheduleView:
        """Change what is given, by the names of `create`, and keep the rest; a new cron, every or at replaces the rule.

        Raises:
            NotFound: this tenant has no such schedule.
            InvalidInput: what `create` refuses.
        """
        for _ in range(10):
            old = await self._stored(name, tenant)
            rule = _changed_rule(old.rule, changes) if changes.keys() & set(RULE) else old.rule
            given = {key: value for key, value in changes.items() if key not in RULE}
            kind, template = given.pop("kind", None), given.pop("template", None)
            if kind is None and template is None:
                kind, template = old.kind, old.template
            payload, overlap = given.pop("payload", KEPT), given.pop("overlap", None)
            if payload is KEPT:
                payload = await self._kept(old, kind, tenant)
            if overlap == "allow" and old.options.get("unique_key") == f"schedule:{name}":
                given["unique_key"] = None
            missed, limit = given.pop("missed", old.missed), given.pop("missed_limit", old.missed_limit)
            work = await self._allowed(tenant, name, kind, template, payload, missed, limit, overlap or "allow", {**old.options, **given})
            if await self._save(tenant, name, rule, work, declared=old.declared_by_code, revision=old.revision) != "moved":
                return await self.get(name, tenant=tenant)
        raise Unavailable(f"schedule {name!r} changed ten times while it was being changed. Try again.")

    async def pause(self, name: str, *, tenant: str | None = None) -> bool:
        """Fire no more; exact at commit. What falls due meanwhile is not made up for. False: it was paused."""
        return await self._switch(name, tenant, True)

    async def resume(self, name: str, *, tenant: str | None = None) -> bool:
        """Undo `pause`: the next time is the first one from now on. False: it was not paused."""
        return await self._switch(name, tenant, False)

    async def delete(self, name: str, *, tenant: str | None = None) -> bool:
        """Take it away with the memory of its firings; its jobs stay. False: there was none."""
        tenant_id = await self._app.known_tenant_id(tenant)
        if gone := await schedules.delete(await self._app.open(), tenant_id, name):
            await self._app.noted(tenant_id, "schedule.deleted", f"schedule:{name}")
        return gone

    async def get(self, name: str, *, tenant: str | None = None) -> ScheduleView:
        """One schedule; NotFound when this tenant has none of that name. {"$encrypted": "v1"} stands for an encrypted payload."""
        found = await self._stored(name, tenant)
        return replace(found, payload=keeping.concealed(found.payload))

    async def list(self, *, tenant: str | None = None) -> builtins.list[ScheduleView]:
        """The tenant's schedules by name, at most 1,000."""
        found = await schedules.schedules(await self._app.open(), await self._app.known_tenant_id(tenant))
        return [replace(one, payload=keeping.concealed(one.payload)) for one in found]

    async def next(self, name: str, count: int = 5, *, tenant: str | None = None) -> builtins.list[datetime]:
        """The next `count` due times (1..1000) in UTC by its rule, also while it is paused; fewer where there are no more."""
        found = await self.get(name, tenant=tenant)
        now = await schedules.now(await self._app.open())
        return list(islice(found.rule.times(now), whole("count", count, 1, 1000)))

    async def firings(self, name: str, limit: int = 20, *, tenant: str | None = None) -> builtins.list[Firing]:
        """What it fired, newest due time first; remembered as long as history."""
        return await schedules.firings(
            await self._app.open(), await self._app.known_tenant_id(tenant), name, whole("limit", limit, 1, 1000)
        )

    async def run_now(self, name: str, *, tenant: str | None = None) -> UUID:
        """Make its job now, whatever the rule says, also while it is paused; the job that stands for it."""
        tenant_id = await self._app.known_tenant_id(tenant)
        job_id = (await schedules.run(await self._app.open(), tenant_id, name))[0]
        await self._app.noted(tenant_id, "schedule.run", f"schedule:{name}", job=str(job_id))
        return job_id

    # -- declared by code --------------------------------------------------------------

    def declared_count(self) -> int:
        """How many `@app.schedule` noted so far, for `keep_only`."""
        return len(self._declared)

    def keep_only(self, before: int, unwanted: Collection[str] | None) -> None:
        """Forget what was declared since `before`: all of it (None), or what makes jobs of these kinds. Their handlers were not taken."""
        later = [] if unwanted is None else [one for one in self._declared[before:] if one[-1]() not in unwanted]
        self._declared[before:] = later

    def declare(self, registry: Registry, cron: str | None, what: dict[str, Any]) -> Callable[[Any], Any]:
        """`@app.schedule`: note it for `keep_declared`. The kind is that of the decorated handler, whichever stands above."""
        rest = dict(what)
        rule = checked_rule(cron, **{key: rest.pop(key) for key in ("every", "tz", "start") if key in rest})
        name, kind, tenant = rest.pop("name", None), rest.pop("kind", None), rest.pop("tenant", None) or self._app.settings.tenant
        how: dict[str, Any] = {**{key: rest.pop(key) for key in WORK if key in rest}, "options": rest}
        self._work(name or "unnamed", None if "template" in how else "unnamed", **how, may_have_secrets=True)

        def decorate(function: Any) -> Any:
            def kind_of() -> str | None:
                found = [handler.kind for handler in registry if handler.function is function]
                if kind is not None or how.get("template") is not None:
                    return None if kind is None else kind_name(kind)
                if not found:
                    raise InvalidInput(
                        f"@app.schedule on {function.__qualname__}: declare it with @app.job too, or name a kind or template."
                    )
                return found[0]

            self._declared.append((tenant, name, rule, how, kind_of))
            return function

        return decorate

    async def keep_declared(self, *, prune: bool = False) -> bool:
        """Write what the code declares, by name; with `prune`, take away what code declared before. Whether anything changed.

        Raises:
            InvalidInput: two have one name, or one cannot be.
        """
        wanted: dict[tuple[str, str], tuple[Rule, dict[str, Any]]] = {}
        for tenant, given, rule, how, kind_of in self._declared:
            kind = kind_of()
            name = given or kind or how["template"]
            if (tenant, name) in wanted:
                raise InvalidInput(f"two schedules are named {name!r}: give @app.schedule a name of its own.")
            wanted[tenant, name] = (rule, await self._allowed(tenant, name, kind, **how))
        changed = False
        for (tenant, name), (rule, work) in wanted.items():
            changed |= await self._save(tenant, name, rule, work, declared=True) != "unchanged"
        if prune:
            for tenant in {self._app.settings.tenant, *(tenant for tenant, _ in wanted)}:
                keep = [name for of, name in wanted if of == tenant]
                gone = await schedules.prune(await self._app.open(), await self._app.tenant_id(tenant), keep)
                if gone:
                    log.info("schedules.pruned", tenant=tenant, names=gone)
        return changed

    # -- what all ways have in common ----------------------------------------------------

    async def _allowed(self, tenant: str | None, name: str, kind: str | None, *what: Any, **how: Any) -> dict[str, Any]:
        """What `_work` answers; before a secret is refused, the database is asked whether the kind is encrypted."""
        try:
            return self._work(name, kind, *what, **how)
        except SecretInPayload:
            if kind is None or not await keeping.is_encrypted(self._app, tenant, kind_name(kind)):
                raise
            return self._work(name, kind, *what, **how, may_have_secrets=True)

    def _work(
        self,
        name: str,
        kind: str | None,
        template: str | None = None,
        payload: Any = None,
        missed: str = "once",
        missed_limit: int = 100,
        overlap: str = "allow",
        options: dict[str, Any] | None = None,
        *,
        may_have_secrets: bool = False,
    ) -> dict[str, Any]:
        """What is saved besides the rule, checked."""
        checked_name("schedule", name)
        if (kind is None) == (template is None):
            raise InvalidInput(f"schedule {name!r}: need a kind or a template, one of them.")
        if missed not in ("skip", "once", "all"):
            raise InvalidInput(f"missed is {missed!r}: need 'skip', 'once' or 'all'.")
        if overlap not in ("allow", "skip"):
            raise InvalidInput(f"overlap is {overlap!r}: need 'allow' or 'skip'.")
        # What is None takes an option of the template away; without one there is nothing to take.
        options = {key: value for key, value in (options or {}).items() if value is not None or template is not None}
        if overlap == "skip":
            options.setdefault("unique_key", f"schedule:{name}")
        if may_have_secrets:
            options["allow_secrets"] = True
        text, kept = checked_kept(kind or "kept", payload, options, make=self._app.sealing.new_job)
        return {
            "kind": None if kind is None else kind_name(kind),
            "template": None if template is None else checked_name("template", template),
            "payload": text,
            "options": kept,
            "missed": missed,
            "missed_limit": whole("missed_limit", missed_limit, 1, 1000),
        }

    async def _save(
        self, tenant: str | None, name: str, rule: Rule, work: dict[str, Any], *, declared: bool, revision: int | None = None
    ) -> str:
        store, tenant_id = await self._app.open(), await self._app.tenant_id(tenant)

        async def write(payload: str | None) -> str:
            return await schedules.save(
                store, tenant_id, name, rule=rule, **{**work, "payload": payload}, declared=declared, revision=revision
            )

        if work["kind"] is None:
            word = await write(work["payload"])
        else:
            before = await schedules.get(store, tenant_id, name) if self._app.sealing.vault is not None else None
            word = await keeping.kept(
                self._app, tenant_id, work["kind"], work["payload"], write, before=None if before is None else before.payload
            )
        if word in ("created", "changed"):
            what = {key: work[key] for key in ("kind", "template") if work[key] is not None}
            await self._app.noted(tenant_id, "schedule.saved", f"schedule:{name}", **what, new=word == "created")
        return word

    async def _switch(self, name: str, tenant: str | None, paused: bool) -> bool:
        tenant_id = await self._app.known_tenant_id(tenant)
        if changed := await schedules.pause(await self._app.open(), tenant_id, name, paused):
            await self._app.noted(tenant_id, f"schedule.{'paused' if paused else 'resumed'}", f"schedule:{name}")
        return changed

    async def _stored(self, name: str, tenant: str | None) -> ScheduleView:
        found = await schedules.get(await self._app.open(), await self._app.known_tenant_id(tenant), name)
        if found is None:
            raise NotFound(f"schedule {name[:80]!r}: this tenant has none of that name.")
        return found

    async def _kept(self, old: ScheduleView, kind: str | None, tenant: str | None) -> Any:
        """The payload that a change leaves as it is: one that is encrypted was made for its kind, and is opened for another."""
        if sealed_text(old.payload) is None:
            return old.payload
        if old.kind is None or kind is None or kind_name(kind) == old.kind:
            return Envelope(old.payload)
        return keeping.opened(self._app.sealing.vault, await self._app.tenant_id(tenant), old.kind, old.payload)


def _changed_rule(old: Rule, changes: dict[str, Any]) -> Rule:
    """The rule with what is given; what is not given stays, but one of cron, every and at drives out the others."""
    kept = {"cron": old.cron, "every": old.every_s, "at": old.at, "start": old.starts_at, "tz": old.time_zone}
    given = {key: value for key, value in changes.items() if key in RULE}
    if given.keys() & {"cron", "every", "at"}:
        kept.update(dict.fromkeys(("cron", "every", "at", "start")))
    return checked_rule(**{**kept, **given})

"""`Trunkline`: the composition root. Builds the services, starts and stops them in order, and delegates; it decides nothing.

Always true: the database is opened on first use and closed by `close`; a worker is stopped before the pool is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from trunkline.connections import Connections
from trunkline.embedded import EmbeddedServer
from trunkline.engine import (
    Act,
    Alerts,
    Batches,
    Declarations,
    Enqueued,
    Flows,
    Gauges,
    Heart,
    Hooks,
    Limits,
    Operations,
    Privacy,
    Producer,
    Prompts,
    Records,
    Registry,
    Retention,
    Schedules,
    Stopped,
    Templates,
    Tenants,
    Waiter,
    Worker,
    acting,
)
from trunkline.errors import InvalidInput, NotFound, WaitTimeout
from trunkline.hosting import Hosting
from trunkline.jobtypes import Files
from trunkline.model import JobView, NewJob, checked_name, checked_tenant
from trunkline.model.actor import Actor
from trunkline.model.trace import traceparent
from trunkline.realtime import Updates
from trunkline.settings import Settings
from trunkline.store import Signals, Store, sessions
from trunkline.store import migrate as migrations

if TYPE_CHECKING:
    from trunkline.jobtypes.plugins import PlugIn


class Trunkline(Operations, Declarations, Hosting):
    """An application: its handlers, and the way to its jobs.

    `async with Trunkline() as app:` opens and closes it; any method opens it on first use.
    """

    def __init__(self, database_url: str | None = None, *, settings: Settings | None = None, **overrides: Any) -> None:
        self.settings = settings or Settings.load(database_url=database_url, **overrides)
        self.registry, self.hooks = Registry(), Hooks()
        self.privacy = Privacy(self)
        self.schedules = Schedules(self)
        self.templates = Templates(self)
        self.batches = Batches(self)
        self.flows = Flows(self)
        self.limits = Limits(self)
        self.alerts = Alerts(self)
        self.records = Records(self)
        self.retention = Retention(self)
        self.tenants = Tenants(self)
        self.prompts, self.files = Prompts(self), Files(self)
        self.connections = Connections(self, self.privacy.vault, self._is_development)
        self.updates = Updates(self, self.privacy.reveal_result)
        self.gauges = Gauges(
            self,
            lag_s=lambda: None if self._worker is None or self._presence is None else self._presence[1].lag_s,
            counts=lambda: None if self._store is None else self._store.counts,
        )
        self._store: Store | None = None
        self._producer: Producer | None = None
        self._embedded: EmbeddedServer | None = None
        self._opening = asyncio.Lock()
        self._tenant_ids: dict[str, int] = {}
        self._signals: Signals | None = None
        self._presence: tuple[Signals, Heart, Waiter] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._worker: Worker | None = None

    # -- handlers ----------------------------------------------------------------

    def load_plugins(self) -> list[PlugIn]:
        """Declare the job types of installed packages (entry point group `trunkline.jobtypes`), but for TRUNKLINE_JOBTYPES_OFF.

        `trunkline worker` and `up` do so by themselves. A handler of this application goes before a plug-in's of the same kind.
        """
        from trunkline.jobtypes import plugins

        return plugins.load(self, self.settings.jobtypes_switched_off)

    # -- life cycle ----------------------------------------------------------------

    async def open(self, *, migrate: bool | None = None) -> Store:
        """Connect, and bring the schema up to date where it may.

        Args:
            migrate: True applies migrations, False only checks; None applies them to the embedded database only.
        """
        if self._store is not None:
            return self._store
        async with self._opening:
            if self._store is None:
                settings = self.settings
                if settings.database_url is None:
                    self._embedded = await asyncio.to_thread(EmbeddedServer.start, settings.data_dir, bin_dir=settings.pg_bin_dir)
                    settings = self.settings = settings.model_copy(update={"database_url": self._embedded.url})
                    migrate = True if migrate is None else migrate
                store = await Store.connect(settings)
                try:
                    async with store.connection() as conn:
                        if migrate:
                            await migrations.migrate(conn, settings.schema_name, partition_days=settings.partition_days)
                        else:
                            await migrations.check(conn, settings.schema_name)
                except BaseException:
                    await store.close()
                    raise
                store.counts.labels.is_own = self.registry.has
                self._store = store
                self._producer = Producer(store, self.privacy.sealing, timeout_s=settings.command_timeout_s)
            return self._store

    async def close(self) -> None:
        """Stop a worker that runs, then close every connection and the embedded server (if this process is its last user)."""
        await self._close_doors()
        if self._worker is not None:
            await self.stop_worker()
        if self._producer is not None:
            await self._producer.close()
        await self._close_stream()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background.clear()
        self._signals = None
        if self._presence is not None:
            await self._presence[1].stop()
            self._presence = None
        if self._store is not None:
            await self._store.close()
            self._store = self._producer = None
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop)
            self._embedded = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start_worker(
        self, *, concurrency: int | None = None, queues: Sequence[str] | None = None, prune_schedules: bool = False
    ) -> Worker:
        """Begin to run jobs in this process.

        Args:
            queues: serve these only, with every handler for whatever kind is found there; None: those of the handlers.
            prune_schedules: take away schedules that code declared in this tenant and this code does not.
        Raises:
            InvalidInput: no handler is declared, or a worker runs already.
        """
        if self._worker is not None:
            raise InvalidInput("this application runs a worker already: stop it first.")
        if not len(self.registry):
            raise InvalidInput("no handler is declared: decorate a function with @app.job(...).")
        if queues is not None and not queues:
            raise InvalidInput("queues is empty: name at least one, or leave it out to serve those of the handlers.")
        chosen = None if queues is None else [checked_name("queue", queue) for queue in queues]
        store = await self.open()
        signals, heart, _ = await self._present()
        if await self.schedules.keep_declared(prune=prune_schedules):
            heart.tick_soon()
        self._worker = Worker(
            store,
            signals,
            heart,
            self.registry,
            default_tenant=await self.tenant_id(None),
            concurrency=concurrency or self.settings.concurrency,
            queues=chosen,
            hooks=self.hooks,
            sealing=self.sealing,
        )
        await self._worker.start()
        await self.privacy.seal_kept()
        return self._worker

    async def stop_worker(self, timeout_s: float | None = None) -> Stopped:
        """Stop claiming, finish or release what runs; `timeout_s` None: TRUNKLINE_SHUTDOWN_TIMEOUT."""
        worker, self._worker = self._worker, None
        if worker is None:
            return Stopped(0, 0, 0)
        return await worker.stop(self.settings.shutdown_timeout_s if timeout_s is None else timeout_s)

    def _services(self) -> Trunkline:
        return self

    def _is_embedded(self) -> bool:
        return self._embedded is not None

    def _listening(self) -> Signals:
        """The LISTEN connection, once the application is open."""
        if self._signals is None:
            self._signals = Signals(self.settings)
            self._background.append(asyncio.create_task(self._signals.run()))
        return self._signals

    async def _present(self) -> tuple[Signals, Heart, Waiter]:
        """The session and the LISTEN connection, for a process that works or waits."""
        store = await self.open()
        async with self._opening:
            if self._presence is None:
                signals, heart = self._listening(), Heart(store)
                waiter = Waiter(store, heart)
                signals.subscribe(waiter.heard)
                await heart.start()
                self._background += [asyncio.create_task(loop) for loop in (heart.run(), waiter.run())]
                self._presence = (signals, heart, waiter)
            return self._presence

    @property
    def store(self) -> Store:
        """The open store.

        Raises:
            InvalidInput: nothing opened the application yet.
        """
        if self._store is None:
            raise InvalidInput("the application is not open: use `async with app`, or await app.open().")
        return self._store

    async def tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name, made on first use; None: the default tenant."""
        name = self.settings.tenant if name is None else name
        if name not in self._tenant_ids:
            self._tenant_ids[name] = await sessions.tenant_id(await self.open(), checked_tenant(name))
        return self._tenant_ids[name]

    async def known_tenant_id(self, name: str | None) -> int:
        """The same for those who only ask: NotFound where `tenant_id` would make one. The default tenant is always there."""
        if name is not None and name != self.settings.tenant and name not in self._tenant_ids:
            asked = name if isinstance(name, str) else checked_tenant(name)
            if (found := await sessions.known_tenant_id(await self.open(), asked)) is None:
                raise NotFound(f"there is no tenant {name[:80]!r}: a tenant is made by its first job. Check the name.")
            self._tenant_ids[name] = found
        return await self.tenant_id(name)

    # -- who acts ----------------------------------------------------------------------

    def acting(self, who: str | Actor, *, address: str | None = None) -> AbstractAsyncContextManager[Act]:
        """One transaction in somebody's name: `async with app.acting("alice") as act: await act.cancel(job_id)`.

        `act` has the verbs of the application. What they change, and the rows of the audit log that say who did, commit together when
        the block ends; an exception in it undoes all. What is called on the application itself is done in nobody's name.

        Args:
            who: what your application knows its user by, 1..500 characters; `address`: where the request came from.
        """
        return acting(self, who if isinstance(who, Actor) else Actor.named(who, address))

    # -- jobs ------------------------------------------------------------------------

    async def enqueue(
        self,
        kind: str | None = None,
        payload: Any = None,
        *,
        template: str | None = None,
        tenant: str | None = None,
        connection: Any = None,
        **options: Any,
    ) -> UUID:
        """Put one job in and answer its id; with a key that is held, the holder's id. Options: see model.new_job.

        Args:
            template: instead of a kind: payload and options go over the template's (see Templates.job).
            connection: your own asyncpg, psycopg or SQLAlchemy connection with a transaction open: the job exists if and
                only if that transaction commits.
        """
        return (await self.enqueue_checked(kind, payload, template=template, tenant=tenant, connection=connection, **options)).id

    async def enqueue_checked(
        self,
        kind: str | None = None,
        payload: Any = None,
        *,
        template: str | None = None,
        tenant: str | None = None,
        connection: Any = None,
        **options: Any,
    ) -> Enqueued:
        """As `enqueue`, and also whether the job is new."""
        if not self.settings.trace_context or "traceparent" in options:
            return await self._enqueue(kind, payload, template, tenant, connection, options)
        tracing = self.hooks.tracing
        with nullcontext() if tracing is None else tracing.sending(options.get("queue") or kind or "", kind or ""):
            if (parent := traceparent()) is not None:
                options["traceparent"] = parent
            return await self._enqueue(kind, payload, template, tenant, connection, options)

    async def _enqueue(
        self, kind: str | None, payload: Any, template: str | None, tenant: str | None, connection: Any, options: dict[str, Any]
    ) -> Enqueued:
        if template is not None and kind is None:
            job = await self.templates.job(template, payload, tenant=tenant, **options)
        elif kind is not None and template is None:
            job = await self.checked_job(kind, payload, tenant, options)
        else:
            raise InvalidInput("enqueue needs a kind or a template, one of them.")
        await self.open()
        assert self._producer is not None
        if connection is not None:
            return (await self._producer.in_transaction(tenant or self.settings.tenant, [job], connection))[0]
        return await self._producer.one(await self.tenant_id(tenant), job)

    async def enqueue_many(self, jobs: Iterable[NewJob], *, tenant: str | None = None, connection: Any = None) -> list[Enqueued]:
        """Put many jobs in, in their order; make them with `app.new_job` (`trunkline.new_job` knows no settings). Many plain ones go by COPY.

        Args:
            jobs: a generator is fastest: the database writes what came while the next are made. What it raises ends the call;
                about 20,000 plain jobs, or 1,000 others, are one transaction, and earlier ones stay.
            connection: as for `enqueue`; then all of them are the caller's one transaction.
        """
        await self.open()
        assert self._producer is not None
        if connection is not None:
            return await self._producer.in_transaction(tenant or self.settings.tenant, list(jobs), connection)
        return await self._producer.many(await self.tenant_id(tenant), jobs)

    async def wait_ended(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> JobView:
        """The job, as soon as it has ended, however it did. Raises WaitTimeout and NotFound as `wait` does."""
        job = await self.get(job_id, tenant=tenant)
        if not job.is_terminal:
            try:
                await self.ended(job.tenant_id, job.id, timeout)
            except TimeoutError:
                raise WaitTimeout(
                    f"job {job.id} is still {job.state} after {timeout:g} s. Wait again, or look at it: trunkline jobs show {job.id}"
                ) from None
            job = await self.get(job_id, tenant=tenant)
        return job

    async def ended(self, tenant_id: int, identity: UUID, timeout_s: float | None) -> None:
        """Return when this job or batch has ended; TimeoutError when it had not in time."""
        _, _, waiter = await self._present()
        await waiter.wait_ended(tenant_id, identity, timeout_s)

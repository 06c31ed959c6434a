"""`Trunkline`: the composition root. Builds the services, starts and stops them in order, and delegates; it decides nothing.

Always true: the database is opened on first use and closed by `close`; a worker is stopped before the pool is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from uuid import UUID

from trunkline.embedded import EmbeddedServer
from trunkline.engine import Enqueued, Heart, Operations, Producer, Registry, Retention, Stopped, Tenants, Waiter, Worker, make_handler
from trunkline.errors import InvalidInput, JobCancelled, JobFailed, NotFound, WaitTimeout
from trunkline.model import JobView, NewJob, Policy, checked_name, new_job
from trunkline.settings import Settings
from trunkline.store import Signals, Store, sessions
from trunkline.store import migrate as migrations

F = TypeVar("F", bound=Callable[..., Any])


class Trunkline(Operations):
    """An application: its handlers, and the way to its jobs.

    `async with Trunkline() as app:` opens and closes it; any method opens it on first use.
    """

    def __init__(self, database_url: str | None = None, *, settings: Settings | None = None, **overrides: Any) -> None:
        self.settings = settings or Settings.load(database_url=database_url, **overrides)
        self.registry = Registry()
        self.retention = Retention(self)
        self.tenants = Tenants(self)
        self._store: Store | None = None
        self._producer: Producer | None = None
        self._embedded: EmbeddedServer | None = None
        self._opening = asyncio.Lock()
        self._tenant_ids: dict[str, int] = {}
        self._presence: tuple[Signals, Heart, Waiter] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._worker: Worker | None = None

    # -- handlers ----------------------------------------------------------------

    def job(
        self,
        kind: str,
        *,
        queue: str | None = None,
        retry_limit: int = 3,
        retry_delay: float = 2.0,
        retry_backoff: bool = True,
        retry_max_delay: float = 3600.0,
        retry_jitter: float = 0.0,
        timeout: float | None = None,
        dead_letter: str | None = None,
        tenants: Literal["default", "all"] = "default",
        process: bool = False,
        retry_on: Sequence[type[BaseException]] = (),
        fail_on: Sequence[type[BaseException]] = (),
    ) -> Callable[[F], F]:
        """Declare the handler of a kind: `async def`, plain `def` (runs in a thread) or `process=True` (CPU work).

        Args:
            retry_limit: retries after the first attempt; delays are seconds (see model.Policy).
            timeout: seconds one attempt may take; None: TRUNKLINE_JOB_TIMEOUT.
            dead_letter: queue that receives a copy of each job that ends failed.
            tenants: "default" serves the default tenant only, "all" every tenant.
            retry_on, fail_on: exception classes that alone are retried / that end the job at once.
        """
        policy = Policy(
            retry_limit,
            retry_delay,
            retry_backoff,
            retry_max_delay,
            retry_jitter,
            self.settings.job_timeout_s if timeout is None else timeout,
            dead_letter,
        )

        def declare(function: F) -> F:
            self.registry.add(
                make_handler(
                    function,
                    kind,
                    queue=queue,
                    policy=policy,
                    tenants=tenants,
                    process=process,
                    retry_on=tuple(retry_on),
                    fail_on=tuple(fail_on),
                )
            )
            return function

        return declare

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
                self._store = store
                self._producer = Producer(store, timeout_s=settings.command_timeout_s)
            return self._store

    async def close(self) -> None:
        """Stop a worker that runs, then close every connection and the embedded server (if this process is its last user)."""
        if self._worker is not None:
            await self.stop_worker()
        if self._producer is not None:
            await self._producer.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background.clear()
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

    async def start_worker(self, *, concurrency: int | None = None, queues: Sequence[str] | None = None) -> Worker:
        """Begin to run jobs in this process.

        Args:
            queues: serve these only, with every handler for whatever kind is found there; None: those of the handlers.
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
        self._worker = Worker(
            store,
            signals,
            heart,
            self.registry,
            default_tenant=await self.tenant_id(None),
            concurrency=concurrency or self.settings.concurrency,
            queues=chosen,
        )
        await self._worker.start()
        return self._worker

    async def stop_worker(self, timeout_s: float | None = None) -> Stopped:
        """Stop claiming, finish or release what runs; `timeout_s` None: TRUNKLINE_SHUTDOWN_TIMEOUT."""
        worker, self._worker = self._worker, None
        if worker is None:
            return Stopped(0, 0, 0)
        return await worker.stop(self.settings.shutdown_timeout_s if timeout_s is None else timeout_s)

    async def _present(self) -> tuple[Signals, Heart, Waiter]:
        """The session and the LISTEN connection, for a process that works or waits."""
        store = await self.open()
        async with self._opening:
            if self._presence is None:
                signals, heart = Signals(self.settings), Heart(store)
                waiter = Waiter(store, heart)
                signals.subscribe(waiter.heard)
                await heart.start()
                self._background = [asyncio.create_task(loop) for loop in (signals.run(), heart.run(), waiter.run())]
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
            self._tenant_ids[name] = await sessions.tenant_id(await self.open(), name)
        return self._tenant_ids[name]

    async def known_tenant_id(self, name: str | None) -> int:
        """The same for those who only ask: NotFound where `tenant_id` would make one. The default tenant is always there."""
        if name is not None and name != self.settings.tenant and name not in self._tenant_ids:
            if (found := await sessions.known_tenant_id(await self.open(), name)) is None:
                raise NotFound(f"there is no tenant {name[:80]!r}: a tenant is made by its first job. Check the name.")
            self._tenant_ids[name] = found
        return await self.tenant_id(name)

    # -- jobs ------------------------------------------------------------------------

    async def enqueue(self, kind: str, payload: Any = None, *, tenant: str | None = None, connection: Any = None, **options: Any) -> UUID:
        """Put one job in and answer its id; with a key that is held, the holder's id. Options: see model.new_job.

        Args:
            connection: your own asyncpg, psycopg or SQLAlchemy connection with a transaction open: the job exists if and
                only if that transaction commits.
        """
        return (await self.enqueue_checked(kind, payload, tenant=tenant, connection=connection, **options)).id

    async def enqueue_checked(
        self, kind: str, payload: Any = None, *, tenant: str | None = None, connection: Any = None, **options: Any
    ) -> Enqueued:
        """As `enqueue`, and also whether the job is new."""
        job = new_job(kind, payload, max_bytes=self.settings.payload_max_bytes, **options)
        await self.open()
        assert self._producer is not None
        if connection is not None:
            return (await self._producer.in_transaction(tenant or self.settings.tenant, [job], connection))[0]
        return await self._producer.one(await self.tenant_id(tenant), job)

    async def enqueue_many(self, jobs: Sequence[NewJob], *, tenant: str | None = None, connection: Any = None) -> list[Enqueued]:
        """Put many jobs in, in their order; make them with `trunkline.new_job`. Many plain ones go by COPY."""
        if not jobs:
            return []
        await self.open()
        assert self._producer is not None
        if connection is not None:
            return await self._producer.in_transaction(tenant or self.settings.tenant, jobs, connection)
        return await self._producer.many(await self.tenant_id(tenant), jobs)

    async def wait(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> Any:
        """The result of a job, as soon as it has ended.

        Raises:
            WaitTimeout: it had not ended within `timeout` seconds.
            JobFailed, JobCancelled: how it ended instead.
            NotFound: this tenant has no such job.
        """
        job = await self.wait_ended(job_id, timeout, tenant=tenant)
        message = job.error.get("message", "") if isinstance(job.error, dict) else ""
        if job.state == "failed":
            raise JobFailed(f"job {job.id} failed after {job.attempt} attempts: {message}")
        if job.state == "cancelled":
            raise JobCancelled(f"job {job.id} was cancelled: {message}")
        return job.result

    async def wait_ended(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> JobView:
        """The job, as soon as it has ended, however it did. Raises WaitTimeout and NotFound as `wait` does."""
        job = await self.get(job_id, tenant=tenant)
        if not job.is_terminal:
            _, _, waiter = await self._present()
            try:
                await waiter.wait_ended(job.tenant_id, job.id, timeout)
            except TimeoutError:
                raise WaitTimeout(
                    f"job {job.id} is still {job.state} after {timeout:g} s. Wait again, or look at it: trunkline jobs show {job.id}"
                ) from None
            job = await self.get(job_id, tenant=tenant)
        return job

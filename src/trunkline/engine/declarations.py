"""What an application says about its jobs before anything runs: handlers, schedules, and what goes around handlers.

Part of the application (`app.Trunkline`); a declaration is checked when it is made and written when a worker starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from trunkline.engine.handlers import Registry, make_handler
from trunkline.engine.hooks import Extensible
from trunkline.engine.privacy import Privacy
from trunkline.engine.schedules import Schedules
from trunkline.model import Policy
from trunkline.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


class Declarations(Extensible):
    """The decorators of an application."""

    settings: Settings
    registry: Registry
    privacy: Privacy
    schedules: Schedules

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
        concurrency: int | None = None,
        rate: float | None = None,
        burst: int = 0,
        key_concurrency: int | None = None,
        key_rate: float | None = None,
        key_burst: int = 0,
        tenants: Literal["default", "all"] = "default",
        process: bool = False,
        retry_on: Sequence[type[BaseException]] = (),
        fail_on: Sequence[type[BaseException]] = (),
        encrypt: bool | Literal["payload", "result"] = False,
        allow_secrets: bool = False,
    ) -> Callable[[F], F]:
        """Declare the handler of a kind: `async def`, plain `def` (runs in a thread) or `process=True` (CPU work).

        Args:
            retry_limit: retries after the first attempt; delays are seconds (see model.Policy).
            timeout: seconds one attempt may take; None: TRUNKLINE_JOB_TIMEOUT.
            dead_letter: queue that receives a copy of each job that ends failed.
            concurrency, rate, burst: jobs of the kind at once and starts a second, in each tenant, over all processes.
            key_concurrency, key_rate, key_burst: the same for jobs that share a `limit_key`; 1 at once makes them singletons.
            tenants: "default" serves the default tenant only, "all" every tenant.
            retry_on, fail_on: exception classes that alone are retried / that end the job at once.
            encrypt: what is stored encrypted: True for payload and result, "payload", "result".
            allow_secrets: take payloads with fields that are named like secrets although they are stored as they are.
        """
        policy = Policy(
            retry_limit,
            retry_delay,
            retry_backoff,
            retry_max_delay,
            retry_jitter,
            self.settings.job_timeout_s if timeout is None else timeout,
            dead_letter,
            concurrency,
            rate,
            burst,
            key_concurrency,
            key_rate,
            key_burst,
        )

        def declare(function: F) -> F:
            handler = make_handler(
                function,
                kind,
                queue=queue,
                policy=policy,
                tenants=tenants,
                process=process,
                retry_on=tuple(retry_on),
                fail_on=tuple(fail_on),
                encrypt=encrypt,
            )
            self.registry.add(handler)
            self.privacy.declared(handler, allow_secrets=allow_secrets)
            return function

        return declare

    def schedule(self, cron: str | None = None, **what: Any) -> Callable[[F], F]:
        """Declare a schedule beside its handler; it is written by name when a worker starts.

        Args:
            cron: five fields, or six with seconds first; or `every=` seconds.
            what: every, start, tz, payload, missed, missed_limit, overlap, template, tenant and options of the job as of
                `schedules.create`; `name=` (the kind's by default), and `kind=` where the function has no `@app.job`.
        """
        return self.schedules.declare(self.registry, cron, what)

"""What a worker can do: one `Handler` per kind, found by name in the `Registry`.

Always true: a handler's arguments are known and checked when it is declared; `bind` gives it exactly those or raises
`Fail` with the field's name, before the handler runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from trunkline.errors import InvalidInput
from trunkline.model import Fail, Policy, RetryAfter, Snooze, checked_name, kind_name
from trunkline.model.binding import Bind, bind

SEALS: dict[bool | str, int] = {False: 0, "payload": 1, "result": 2, True: 3}
Mode = Literal["async", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Handler:
    """A kind of job and how it is done here.

    Attributes:
        mode: async on the loop, thread for plain functions, process for CPU work.
        all_tenants: whether it serves every tenant; otherwise the default tenant only.
        seals: what is encrypted, bits: 1 payload, 2 result.
        retry_on, fail_on: exception classes that are retried, or end the job; both empty: every exception is retried.
    """

    kind: str
    queue: str
    function: Callable[..., Any]
    mode: Mode
    policy: Policy
    all_tenants: bool = False
    retry_on: tuple[type[BaseException], ...] = ()
    fail_on: tuple[type[BaseException], ...] = ()
    seals: int = 0
    bind: Bind = field(default=lambda job: ((), {}), compare=False)

    def is_final(self, error: BaseException) -> bool:
        """Whether `error` ends the job instead of being retried."""
        if isinstance(error, Fail):
            return True
        if self.fail_on and isinstance(error, self.fail_on):
            return True
        return bool(self.retry_on) and not isinstance(error, self.retry_on)


def make_handler(
    function: Callable[..., Any],
    kind: str,
    *,
    queue: str | None,
    policy: Policy,
    tenants: Literal["default", "all"] = "default",
    process: bool = False,
    retry_on: tuple[type[BaseException], ...] = (),
    fail_on: tuple[type[BaseException], ...] = (),
    encrypt: bool | Literal["payload", "result"] = False,
) -> Handler:
    """Check a declaration.

    Raises:
        InvalidInput: the name, the function or its arguments cannot serve.
    """
    name = kind_name(kind)
    is_async = inspect.iscoroutinefunction(function)
    if process and is_async:
        raise InvalidInput(f"handler {name!r}: process=True needs a plain def, not async def.")
    if process and ("<locals>" in function.__qualname__ or function.__module__ == "__main__"):
        raise InvalidInput(
            f"handler {name!r}: process=True needs a function at the top level of an importable module, not {function.__qualname__!r} in {function.__module__!r}."
        )
    if tenants not in ("default", "all"):
        raise InvalidInput(f"handler {name!r}: tenants is {tenants!r}, need 'default' or 'all'.")
    if encrypt not in SEALS:
        raise InvalidInput(f"handler {name!r}: encrypt is {encrypt!r}, need True (payload and result), 'payload', 'result' or False.")
    return Handler(
        kind=name,
        queue=name if queue is None else checked_name("queue", queue),
        function=function,
        mode="process" if process else "async" if is_async else "thread",
        policy=policy,
        all_tenants=tenants == "all",
        retry_on=tuple(retry_on),
        fail_on=tuple(fail_on),
        seals=SEALS[encrypt],
        bind=bind(function, name, takes_job=not process),
    )


class Registry:
    """The handlers of one application, by kind."""

    def __init__(self) -> None:
        self._by_kind: dict[str, Handler] = {}

    def add(self, handler: Handler) -> None:
        """Declare one; a kind has one handler."""
        if handler.kind in self._by_kind:
            raise InvalidInput(
                f"kind {handler.kind!r} already has a handler ({self._by_kind[handler.kind].function.__qualname__}): declare it once."
            )
        self._by_kind[handler.kind] = handler

    def get(self, kind: str) -> Handler | None:
        """The handler of a kind, or None."""
        return self._by_kind.get(kind)

    def has(self, kind: str, queue: str) -> bool:
        """Whether there is a handler of this kind, and its queue is this one."""
        handler = self._by_kind.get(kind)
        return handler is not None and handler.queue == queue

    def queues(self, chosen: Collection[str] | None = None) -> tuple[list[str], list[str]]:
        """(queues to serve for the default tenant, queues to serve for every tenant); of `chosen` only, if given.

        A chosen queue that no handler declares holds jobs that were put there by name, of any kind: it is served for every
        tenant as soon as one handler is.
        """
        shared = {handler.queue for handler in self if handler.all_tenants}
        own = {handler.queue for handler in self} - shared
        if chosen is not None:
            others = set(chosen) - shared - own
            own, shared = own & set(chosen), shared & set(chosen)
            if any(handler.all_tenants for handler in self):
                shared |= others
            else:
                own |= others
        return sorted(own), sorted(shared)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._by_kind.values())

    def __len__(self) -> int:
        return len(self._by_kind)


OUTCOMES = (Snooze, RetryAfter, Fail)

"""The duty that looks for what is wrong, and tells: as log events, in the table that metrics read, and to `@app.on("alert")`.

Every worker and gateway offers to look once an interval; one of all does (sql watch_alerts), and its transaction is the round: who
dies in it leaves nothing. What is new is logged by whoever looked. Handlers are told by any process that has some: it takes news for a
minute and says when they were told, so a process that dies while telling costs a repetition, never the news.
Always true: a handler that raises or hangs costs its own telling after `WITHIN_S`, and nothing else; plain functions run in daemon threads.
Called by: engine.worker, engine.remote. Calls: store.alerts.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from trunkline.engine.alerts import alert_of, states_of
from trunkline.engine.hooks import Hooks, Observer, name_of
from trunkline.engine.threads import Threads
from trunkline.errors import TrunklineError
from trunkline.settings import Settings
from trunkline.store import Store, alerts

WITHIN_S = 30.0  # a handler may take; news is taken for twice as long
MONITOR_EVERY_S = 60.0
EARLY = 0.8  # of an interval: whoever comes a little early is not turned away until the next
MOST_TOLD = 100  # of one round
THREADS = 4  # for plain handlers; those that hang keep theirs
log = structlog.get_logger("trunkline.alerts")


class Alarms:
    """One per worker or gateway. `session_id` answers the session of the moment."""

    def __init__(self, store: Store, session_id: Callable[[], int], hooks: Hooks) -> None:
        self._store, self._session_id = store, session_id
        self._on_alert = hooks.observers.get("alert", [])
        self._on_states = hooks.observers.get("monitor-states", [])
        self._threads = Threads(THREADS)

    def loops(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What is to be kept going."""
        return [loop for loop, wanted in ((self.watch, self._store.settings.alerts), (self.monitor, self._on_states)) if wanted]

    async def watch(self) -> None:
        """A round each interval until cancelled."""
        while True:
            await asyncio.sleep(self._store.settings.alert_interval_s)
            try:
                await self.round()
            except TrunklineError as error:
                log.warning("alerts.not_looked", error=str(error))

    async def monitor(self) -> None:
        """Tell how queues stand each minute until cancelled."""
        while True:
            await asyncio.sleep(MONITOR_EVERY_S)
            try:
                await self.tell_states()
            except TrunklineError as error:
                log.warning("alerts.states_not_read", error=str(error))

    async def round(self) -> None:
        """Look, unless somebody does; log what is new; tell handlers what they have not heard."""
        settings = self._store.settings
        for row in await alerts.watch(self._store, self._session_id(), settings.alert_interval_s * EARLY, limits(settings)):
            alert = alert_of(row)
            said = log.warning if alert.state == "alert" else log.info
            said(
                f"alert.{'raised' if alert.state == 'alert' else 'resolved'}",
                alert=alert.name,
                tenant=alert.tenant,
                subject=alert.subject,
                value=alert.value,
                threshold=alert.threshold,
                message=alert.message,
            )
        if self._on_alert:
            await self._tell_news()

    async def tell_states(self) -> bool:
        """Tell the handlers of `monitor-states`, unless another process does this minute; whether it was us."""
        if not await alerts.is_monitor(self._store, self._session_id(), MONITOR_EVERY_S * EARLY):
            return False
        await self._tell(self._on_states, "monitor-states", states_of(await alerts.states(self._store)))
        return True

    async def _tell_news(self) -> None:
        for _ in range(MOST_TOLD):
            rows = await alerts.news(self._store, 1)
            if not rows:
                return
            await self._tell(self._on_alert, "alert", alert_of(rows[0], news=True))
            await alerts.told(self._store, rows[0])

    async def _tell(self, observers: Sequence[Observer], name: str, what: Any) -> None:
        await asyncio.gather(*(self._call(observer, name, what) for observer in observers))

    async def _call(self, observer: Observer, name: str, what: Any) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                if _is_async(observer):
                    await observer(what)
                elif inspect.isawaitable(answer := await self._threads.call(observer, what)):
                    await answer
        except Exception as error:  # noqa: BLE001 - an observer breaks nothing
            log.error("hooks.observer_failed", observer=name_of(observer), event_name=name, error=repr(error))


def limits(settings: Settings) -> dict[str, float]:
    """The thresholds, as sql watch_alerts() takes them."""
    return {
        "dead_letters": settings.alert_dead_letters,
        "failure_rate": settings.alert_failure_rate,
        "retry_rate": settings.alert_retry_rate,
        "stalled_s": settings.alert_stalled_s,
        "slowdown": settings.alert_slowdown,
        "workers": settings.alert_workers,
        "least": settings.alert_least,
    }


def _is_async(function: Observer) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

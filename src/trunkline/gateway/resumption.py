"""A worker's client comes back and keeps what it had started: on this gateway, or on another one.

On another: it asks the one that its old connection was with (`resume`, a signal to that session); that one lets go of the jobs
without reporting them, moves their leases to the asking session in one fenced update, and says which (`moved`).
Always true: only the same token of the same tenant resumes; a job is never held by two gateways; leases that came and whose
`moved` was lost are found and handed back. A gateway that does not answer in time is dead, and its jobs are offered to all.
Called by: gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from trunkline.engine import RemoteWork
from trunkline.errors import TrunklineError
from trunkline.gateway.connection import Connection
from trunkline.gateway.dispatcher import Dispatcher

ANSWER_WITHIN_S = 1.0
LONGEST = 100  # characters of a connection's id
IDS_AT_ONCE = 150  # of 37 characters: a signal has less than 8,000 bytes
IsSame = Callable[[Connection], bool]
log = structlog.get_logger("trunkline.gateway")


@dataclass(slots=True)
class _Asked:
    """What has come of an answer; it is complete with `total` ids."""

    ids: list[UUID] = field(default_factory=list)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Resumption:
    """Both ends. Subscribe `heard` to the signals."""

    def __init__(self, remote: RemoteWork, dispatcher: Dispatcher, replaced: Callable[[str, IsSame], None]) -> None:
        self._remote, self._dispatcher, self._replaced = remote, dispatcher, replaced
        self._asked: dict[str, _Asked] = {}
        self._giving: set[asyncio.Task[None]] = set()

    async def resume(self, old_id: str, connection: Connection) -> None:
        """Let `connection` hold what the connection `old_id` had started. Nothing, where it is too late or was not its."""
        session = old_id.partition(".")[0]
        if not session.isdecimal() or len(session) > 9 or len(old_id) > LONGEST or not old_id.isascii() or not old_id.isprintable():
            return
        if " " in old_id:  # it parts the words of a signal
            return
        if int(session) == self._remote.session_id:
            self._replaced(old_id, connection.is_same_client)
            kept = self._dispatcher.give_up(old_id, connection.is_same_client)
            self._dispatcher.adopt(connection, [held.job for held in kept])
        elif connection.principal.token_id is not None:
            await self._fetch(int(session), old_id, connection)
        log.info("gateway.resumed", jobs=len(connection.held), tenant=connection.principal.tenant)

    async def _fetch(self, session: int, old_id: str, connection: Connection) -> None:
        principal, asked = connection.principal, _Asked()
        self._asked[old_id] = asked
        self._dispatcher.arriving += 1
        arrived = False
        try:
            await self._remote.tell("resume", session, self._remote.session_id, old_id, principal.tenant_id, principal.token_id)
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await asked.complete.wait()
            if asked.ids:
                self._dispatcher.adopt(connection, await self._remote.receive(principal.tenant_id, asked.ids))
            arrived = True
        except (TimeoutError, TrunklineError) as error:
            log.warning("gateway.not_resumed", error=str(error) or "the other gateway did not answer", tenant=principal.tenant)
        finally:
            self._dispatcher.arriving -= 1
            self._asked.pop(old_id, None)
            if not arrived:
                self._remote.look_for_strays()

    def heard(self, word: str, arguments: list[str]) -> None:
        """A signal: somebody asks for a client's jobs, or answers."""
        if word not in ("resume", "moved") or int(arguments[0]) != self._remote.session_id:
            return
        if word == "resume":
            _, to_session, old_id, tenant_id, token_id = arguments
            task = asyncio.create_task(self._give(int(to_session), old_id, int(tenant_id), UUID(token_id)))
            self._giving.add(task)
            task.add_done_callback(self._giving.discard)
        elif (asked := self._asked.get(arguments[1])) is not None:
            asked.ids += [UUID(job_id) for job_id in arguments[3:]]
            if len(asked.ids) >= int(arguments[2]):
                asked.complete.set()

    async def _give(self, to_session: int, old_id: str, tenant_id: int, token_id: UUID) -> None:
        def is_same(connection: Connection) -> bool:
            return (connection.principal.tenant_id, connection.principal.token_id) == (tenant_id, token_id)

        self._replaced(old_id, is_same)
        kept = {held.job.id: held for held in self._dispatcher.give_up(old_id, is_same)}
        try:
            moved = sorted(await self._remote.give(tenant_id, [held.job for held in kept.values()], to_session)) if kept else []
            for start in range(0, max(len(moved), 1), IDS_AT_ONCE):
                await self._remote.tell("moved", to_session, old_id, len(moved), *moved[start : start + IDS_AT_ONCE])
            log.info("gateway.given", jobs=len(moved), to_session=to_session)
            if len(moved) < len(kept):  # the session that asked is over: these leases may still be ours
                self._remote.look_for_strays()
        except TrunklineError as error:  # the database is away: whoever's they are now, their deadlines hold
            log.warning("gateway.not_given", error=str(error), jobs=len(kept))
            self._remote.look_for_strays()

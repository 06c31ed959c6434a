"""Which line a worker claims from next, where several tenants wait for it.

Tenants by their shares (engine.shares), a tenant's lines in turns. Claims of different tenants go on beside each other, a few at once; one
begins beside others only if none of them is of somebody with a better right, so what starts first is what would start first if claims
followed one another. Whoever has much on its way to the database waits while others are there (engine.company), and whoever holds
nothing is not kept waiting by what was claimed ahead for others.
Called by: engine.fetcher.
"""

from __future__ import annotations

from collections import Counter

from trunkline.engine.acker import Acker
from trunkline.engine.company import Company
from trunkline.engine.line import Line
from trunkline.engine.runner import Runner
from trunkline.engine.shares import Shares
from trunkline.engine.under_way import UnderWay

AT_ONCE = 4  # claims of different tenants; the pool has connections for acks and enqueues, too


class Turns:
    """The choice, from what a worker's parts know."""

    def __init__(self, shares: Shares, under_way: UnderWay, company: Company, runner: Runner, acker: Acker, *, slots: int) -> None:
        self._shares, self._under_way, self._company = shares, under_way, company
        self._runner, self._acker, self._slots = runner, acker, slots
        self._count = 0
        self.is_told = False  # of work, since somebody who holds nothing was last looked for

    def within(self, waiting: list[Line], room: int, enough: int, *, most: int, now: float) -> tuple[Line, int] | None:
        """Of the lines with work the next one, and how many jobs it may be given; None: whoever may be given any has its share.

        Args:
            room: jobs that may be claimed; below `enough`, a claim is not worth its round trip, unless it is of a tenant that holds
                nothing: that one gets what is done in a moment.
        """
        if len(self._under_way.limits) >= AT_ONCE:
            return None
        full = self._company.full(self._acker.unwritten() + self._runner.unstarted())
        able = [line for line in waiting if line.tenant_id not in self._under_way.limits and line.tenant_id not in full]
        if room >= enough:
            return self._next(able, min(room, self._company.most(most)), waiting, now)
        held, beside = self._held(), min(self._slots, enough) if enough > 1 else 0
        new = [line for line in able if not held[line.tenant_id]]
        self.is_told = bool(new) and room + beside <= 0  # else nobody is left to be looked for
        turn = self._next(new, room + beside, waiting, now) if room + beside > 0 else None
        self.is_told = self.is_told or turn is not None
        return turn

    def of_lines(self, lines: list[Line]) -> Line:
        """The one whose turn is longest ago has its turn."""
        line = min(lines, key=lambda each: each.turn)
        self._count += 1
        line.turn = self._count
        return line

    def _next(self, lines: list[Line], limit: int, waiting: list[Line], now: float) -> tuple[Line, int] | None:
        if not lines:
            return None
        served = {line.tenant_id for line in waiting} | self._runner.unstarted().keys() | self._under_way.limits.keys()
        if len(served) > 1:
            held, tenants = self._held(), {line.tenant_id for line in lines}
            turn = self._shares.turn(
                tenants, held, served=served, slots=self._slots, now=now, allows=lambda right: self._under_way.allows(right, now)
            )
            if turn is None:
                return None
            lines, limit = [line for line in lines if line.tenant_id == turn[0]], min(limit, turn[1])
        return self.of_lines(lines), limit

    def right(self, tenant_id: int) -> tuple[float, float]:
        """Of a tenant whose claim begins."""
        return self._shares.right(tenant_id, self._runner.held()[tenant_id])

    def _held(self) -> Counter[int]:
        """Jobs of each tenant that are here, or may be in a moment."""
        held = self._runner.held()
        held.update(self._under_way.limits)
        return held

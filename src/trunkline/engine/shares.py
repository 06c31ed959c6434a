"""Whose turn it is when jobs of several tenants wait for one worker, and how many it gets.

A tenant may hold its share of the slots, by weight, and beside it twice what it finishes until its next turn: so much is claimed
ahead, which lets claims grow to their best size within a few turns, and keeps jobs that take long from being claimed ahead.
Whoever holds less than that is given jobs, those who hold least for their weight first; so a tenant whose jobs take long ends up
with its share of the slots and no more, and one that comes back from nothing goes first. Among equals goes who was given least for
its weight so far: so many jobs each as the weights say.
Always true: whoever waits alone gets every free slot; no slot stays free while a job waits; a tenant that had nothing to do has
saved nothing up.
Called by: engine.fetcher, engine.runner.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from math import ceil
from typing import NamedTuple, Protocol, TypeVar

LOOK_S = 0.02  # a tenant's pace is measured from turn to turn, over this time at least
AROUND_LEAST_S = 0.03  # as far ahead as a lone tenant's claims go
TURN_MOST_S = 0.1  # a longer time between two turns was idleness
FIRST_PART = 4  # whoever holds nothing gets this part of all slots at once: a claim of one is a dear one


class Owned(Protocol):
    """What belongs to a tenant; `engine.Job` does."""

    @property
    def tenant_id(self) -> int:
        """Whose it is."""
        ...


T = TypeVar("T", bound=Owned)
Right = tuple[float, float]  # what a tenant holds, and what it was given so far, both by its weight: the lowest goes first


class _Pace(NamedTuple):
    """How fast a tenant's jobs finish here."""

    at: float  # monotonic seconds of the turn from which it is measured
    done: int
    per_s: float  # as it was at that turn


class Shares:
    """The weights of tenants, 1 where nobody said otherwise, and what each was given."""

    def __init__(self) -> None:
        self._weights: dict[int, int] = {}
        self._claimed: defaultdict[int, int] = defaultdict(int)
        self._given: dict[int, float] = {}  # jobs divided by weight
        self._now = 0.0  # what the last one had been given before its turn: nobody counts as having had less
        self._paces: dict[int, _Pace] = {}
        self._turned_at, self._turn_s = 0.0, 0.001

    def weigh(self, weights: Mapping[int, int]) -> None:
        """Tenants with a weight other than 1; all others have 1."""
        self._weights = dict(weights)

    def turn(
        self,
        waiting: Collection[int],
        held: Mapping[int, int],
        *,
        served: Collection[int],
        slots: int,
        now: float,
        allows: Callable[[Right], bool] = lambda right: True,
    ) -> tuple[int, int] | None:
        """(tenant, how many jobs it may be given) of those with work; None: each holds what it may, so something must end first.

        Args:
            held: jobs of each tenant that run here or were claimed ahead.
            served: those that slots are shared out among: `waiting`, and whose jobs wait here for a slot.
            slots: jobs that run here at once.
            allows: whether a tenant with this right may have its turn now; asked of the one whose turn it is.
        """
        turn_s = self._turn_s + 0.1 * (min(now - self._turned_at, TURN_MOST_S) - self._turn_s)
        around_s = max(turn_s * len(served), AROUND_LEAST_S)
        beside = sum(count for tenant, count in held.items() if tenant not in served)
        each = max(slots - beside, 0) / sum(map(self._weight, served))
        best: tuple[Right, int, int] | None = None
        for tenant in waiting:
            weight, holds = self._weight(tenant), held.get(tenant, 0)
            free = each * weight + 2 * self._pace(tenant, holds, now) * around_s - holds
            if free > 0 and (best is None or self.right(tenant, holds) < best[0]):
                best = (self.right(tenant, holds), tenant, ceil(free))
        if best is None or not allows(best[0]):
            return None
        _, tenant, limit = best
        self._turn_s, self._turned_at = turn_s, now
        self._look(tenant, held.get(tenant, 0), now)
        return tenant, limit if held.get(tenant) else max(limit, slots // FIRST_PART)

    def right(self, tenant: int, holds: int) -> Right:
        """By which tenants are put in order."""
        return holds / self._weight(tenant), self._had(tenant)

    def took(self, tenant: int, count: int) -> None:
        """It was given `count` jobs."""
        self._claimed[tenant] += count
        self._now = self._had(tenant)
        self._given[tenant] = self._now + count / self._weight(tenant)

    def _weight(self, tenant: int) -> int:
        return self._weights.get(tenant, 1)

    def _had(self, tenant: int) -> float:
        return max(self._given.get(tenant, 0.0), self._now)

    def _pace(self, tenant: int, holds: int, now: float) -> float:
        """Jobs a second that it finishes here, since its last turn."""
        last = self._paces.get(tenant)
        if last is None:
            return 0.0
        if now - last.at < LOOK_S:
            return last.per_s
        return max(self._claimed[tenant] - holds - last.done, 0) / (now - last.at)

    def _look(self, tenant: int, holds: int, now: float) -> None:
        """It has its turn: its pace is counted from here."""
        last = self._paces.get(tenant)
        if last is None or now - last.at >= LOOK_S:
            self._paces[tenant] = _Pace(now, self._claimed[tenant] - holds, self._pace(tenant, holds, now))


def in_turns(items: Iterable[T]) -> deque[T]:
    """One of each tenant, then again one of each; a tenant's own keep their order."""
    of: dict[int, deque[T]] = defaultdict(deque)
    for item in items:
        of[item.tenant_id].append(item)
    left, turns = list(of.values()), deque[T]()
    while left:
        turns.extend(each.popleft() for each in left)
        left = [each for each in left if each]
    return turns

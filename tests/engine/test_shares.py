"""Whose turn it is, by numbers."""

from __future__ import annotations

from typing import NamedTuple

from trunkline.engine.shares import Shares, in_turns

A, B, C = 1, 2, 3


class Thing(NamedTuple):
    """What belongs to a tenant."""

    tenant_id: int
    name: str


def turn(shares: Shares, waiting: set[int], held: dict[int, int], *, now: float = 0.0) -> tuple[int, int] | None:
    """Whose turn it is, and for how many of 8 slots, where nobody's jobs wait for a slot."""
    return shares.turn(waiting, held, served=waiting, slots=8, now=now)


def drained(shares: Shares, waiting: set[int], rounds: int) -> dict[int, int]:
    """What each gets in `rounds` turns of jobs that are done before the next turn."""
    got = dict.fromkeys(waiting, 0)
    for n in range(rounds):
        given = turn(shares, waiting, {}, now=n * 0.01)
        assert given is not None
        shares.took(given[0], min(given[1], 10))
        got[given[0]] += min(given[1], 10)
    return got


def test_who_holds_least_goes_first():
    """Up to its share, or, while it holds nothing, a quarter of the slots where that is more."""
    shares = Shares()

    assert (B, 4) == turn(shares, {A, B}, {A: 3})
    assert (C, 2) == turn(shares, {A, B, C, 4, 5, 6, 7, 8}, dict.fromkeys((A, B, 4, 5, 6, 7, 8), 1))


def test_who_holds_its_share_waits_until_something_ends():
    """Also when nobody else can be given anything: then every slot is taken."""
    assert None is turn(Shares(), {A, B}, {A: 4, B: 4})
    assert (B, 4) == turn(Shares(), {A, B}, {A: 8})


def test_what_a_tenant_without_further_work_holds_is_not_shared_out():
    """Six of eight slots are left for the two that wait."""
    assert (A, 3) == turn(Shares(), {A, B}, {B: 1, C: 2})


def test_whose_jobs_wait_for_a_slot_still_counts():
    """Its line is empty because all it had is claimed: nobody else may take its slots."""
    assert None is Shares().turn({A}, {A: 4, B: 20}, served={A, B}, slots=8, now=0.0)
    assert (A, 1) == Shares().turn({A}, {A: 3, B: 20}, served={A, B}, slots=8, now=0.0)


def test_weights_are_shares_of_the_slots():
    """Three quarters and one."""
    shares = Shares()
    shares.weigh({A: 3})

    assert (A, 6) == turn(shares, {A, B}, {B: 2})
    assert (B, 2) == turn(shares, {A, B}, {A: 6})


def test_fast_jobs_are_shared_by_weight_too():
    """Nobody holds anything when one looks, so what each was given counts."""
    shares = Shares()
    shares.weigh({A: 3})
    got = drained(shares, {A, B}, 400)

    assert 2.8 < got[A] / got[B] < 3.2


def test_claims_grow_as_long_as_their_jobs_are_done_by_the_next_turn():
    """A claim of one or two among many tenants costs more than its jobs."""
    shares, sizes = Shares(), []
    for n in range(6):
        for tenant in range(20):
            given = turn(shares, set(range(20)), {}, now=(n * 20 + tenant) * 0.01)
            assert given is not None
            shares.took(*given)
            sizes.append(given[1])

    assert 2 == sizes[0]
    assert sizes[-1] > 20


def test_who_had_nothing_to_do_has_saved_nothing_up():
    """It goes first once, and then in turns."""
    shares = Shares()
    drained(shares, {A}, 100)
    got = drained(shares, {A, B}, 100)

    assert abs(got[A] - got[B]) <= 10


def test_what_was_claimed_ahead_is_started_in_turns():
    """A tenant's own keep their order."""
    things = [Thing(A, "1"), Thing(A, "2"), Thing(A, "3"), Thing(B, "x"), Thing(C, "y"), Thing(B, "z")]

    assert ["1", "x", "y", "2", "z", "3"] == [thing.name for thing in in_turns(things)]

"""The marks of a line, by numbers: where the next claim begins to look."""

from __future__ import annotations

from uuid import UUID

from trunkline.engine.line import DISORDER_ORD, FREQUENT, Line
from trunkline.model import Claimed

SECOND = 1_000_000 * 4096


def jobs(*places: tuple[int, int]) -> list[Claimed]:
    """Claimed jobs of (priority, place), as a claim returns them."""
    return [Claimed(UUID(int=n), 1, 0, priority, place, 1, "{}", None, None) for n, (priority, place) in enumerate(places)]


def claim(
    line: Line, found: list[Claimed], *, limit: int, now: float, safe: int = 0, took_s: float = 0.001
) -> tuple[bool, int, dict[int, int]]:
    """One claim at `now` seconds: where it began, and the marks moved after it."""
    begin = line.start(now)
    line.claimed(found, limit=limit, covering=begin[0], safe=safe, began_ord=int(now * SECOND), now=now, took_s=took_s)
    return begin


def test_the_first_claim_looks_from_the_front():
    """Nothing is known, and what a crashed claimer released lies there."""
    assert (True, 0, {}) == Line(1, 1, "q").start(100.0)


def test_full_claims_go_on_where_the_last_one_ended():
    """A backlog drains in place order."""
    line = Line(1, 1, "q")
    claim(line, jobs((0, 10), (0, 20)), limit=2, now=100.0, safe=50)
    second = line.start(100.1)
    claim(line, jobs((0, 30), (0, 40)), limit=2, now=100.1, safe=50)

    assert (False, 0, {0: 20}) == second
    assert (False, 0, {0: 40}) == line.start(100.2)
    assert line.has_work


def test_each_priority_has_a_mark_of_its_own():
    """A new urgent job is found whatever place the others have reached."""
    line = Line(1, 1, "q")
    claim(line, jobs((9, 100), (5, 10), (5, 20)), limit=3, now=100.0, safe=1000)

    assert (False, 0, {9: 100, 5: 20}) == line.start(100.1)


def test_a_short_claim_looks_back_a_little_from_where_it_began():
    """Transactions commit a little out of order; an fsync takes milliseconds."""
    line = Line(1, 1, "q")
    claim(line, jobs((0, 10)), limit=100, now=100.0)

    assert (False, int(100.0 * SECOND) - DISORDER_ORD, {}) == line.start(100.1)
    assert not line.has_work


def test_once_a_second_a_claim_covers_what_came_out_of_order():
    """It begins at the safe mark: everything before it was seen after it was certain to be visible."""
    line = Line(1, 1, "q")
    claim(line, [], limit=10, now=100.0, safe=77)

    assert (False, int(100.0 * SECOND) - DISORDER_ORD, {}) == line.start(100.9)
    assert (True, 77, {}) == line.start(101.0)


def test_a_full_covering_claim_does_not_pass_the_safe_mark():
    """A smaller place may still appear between the safe mark and the last job taken."""
    line = Line(1, 1, "q")
    claim(line, jobs((5, 60), (5, 70), (0, 80), (0, 90)), limit=4, now=100.0, safe=65)

    assert (True, 0, {5: 65, 0: 65}) == line.start(101.0)


def test_a_full_covering_claim_does_not_pass_the_last_job_it_took():
    """Behind it lie jobs that it had no room for."""
    line = Line(1, 1, "q")
    claim(line, jobs((5, 10), (0, 20)), limit=2, now=100.0, safe=1000)

    assert (True, 0, {5: 1000, 0: 20}) == line.start(101.0)


def test_a_claim_that_is_not_covering_leaves_the_covered_marks():
    """It began at a hint."""
    line = Line(1, 1, "q")
    claim(line, jobs((0, 10)), limit=1, now=100.0, safe=5)
    claim(line, jobs((0, 500)), limit=1, now=100.1, safe=400)

    assert (True, 0, {0: 5}) == line.start(101.0)


def test_a_slow_covering_claim_comes_again_the_later():
    """It takes at most a twentieth of the time, however much an old snapshot pins before it."""
    line = Line(1, 1, "q")
    claim(line, [], limit=10, now=100.0, took_s=0.5)

    assert not line.start(109.9)[0]
    assert line.start(110.0)[0]


def test_a_job_that_came_back_pulls_every_mark_behind_its_place():
    """It was released, or its priority was raised."""
    line = Line(1, 1, "q")
    claim(line, jobs((5, 60), (0, 80)), limit=2, now=100.0, safe=70)
    claim(line, jobs((5, 90), (0, 95)), limit=2, now=100.1, safe=70)
    line.has_work = False
    line.rewind(50)

    assert line.has_work
    assert (False, 0, {5: 49, 0: 49}) == line.start(100.2)
    assert (True, 0, {5: 49, 0: 49}) == line.start(101.0)


def test_a_job_that_comes_back_while_a_claim_is_under_way_is_not_passed_by_its_answer():
    """The claim may have looked there before it came back."""
    line = Line(1, 1, "q")
    covering, _, _ = line.start(100.0)
    line.rewind(50)
    line.claimed(jobs((0, 80)), limit=1, covering=covering, safe=70, began_ord=0, now=100.1, took_s=0.1)

    assert (False, 0, {0: 49}) == line.start(100.2)


def test_a_job_that_came_back_behind_the_marks_changes_nothing_but_the_wish_to_look():
    """It will be reached."""
    line = Line(1, 1, "q")
    claim(line, jobs((0, 80)), limit=1, now=100.0, safe=70)
    line.rewind(500)

    assert (False, 0, {0: 80}) == line.start(100.1)


def test_a_rewind_counts_for_the_floors_too():
    """A short claim forgot its marks and kept a floor."""
    line = Line(1, 1, "q")
    claim(line, [], limit=10, now=100.0, safe=90 * SECOND)
    line.rewind(10)

    assert (False, 9, {}) == line.start(100.5)
    assert (True, 9, {}) == line.start(101.0)


def test_a_restart_looks_from_the_very_front_at_once():
    """At start, after a reconnect, and once a minute."""
    line = Line(1, 1, "q")
    claim(line, jobs((0, 80)), limit=1, now=100.0, safe=70)
    line.restart()

    assert (True, 0, {}) == line.start(100.1)


def test_a_restart_while_a_claim_is_under_way_is_not_undone_by_its_answer():
    """It began behind marks that no longer hold."""
    line = Line(1, 1, "q")
    claim(line, jobs((0, 80)), limit=1, now=100.0, safe=70)
    line.start(101.5)
    line.restart()
    line.claimed([], limit=10, covering=True, safe=90 * 4096, began_ord=DISORDER_ORD * 2, now=101.6, took_s=0.01)

    assert line.has_work and line.start(101.7)[1] <= 0


def test_many_looks_in_a_second_are_frequent():
    """Past this, being woken for each costs more than looking."""
    line = Line(1, 1, "q")
    within = [line.is_frequent(100.0 + n / 100) for n in range(FREQUENT)]
    one_more = line.is_frequent(100.5)
    later = line.is_frequent(101.6)

    assert ([False] * FREQUENT, True, False) == (within, one_more, later)


def test_what_comes_back_while_a_claim_is_under_way_is_not_covered_by_its_answer():
    """The signal is heard between the claim and its answer, which knows nothing of it."""
    line = Line(1, 1, "q")
    covering, _, _ = line.start(100.0)
    line.rewind(7)
    line.claimed([], limit=10, covering=covering, safe=50 * SECOND, began_ord=100 * SECOND, now=100.0, took_s=0.001)

    assert line.has_work
    assert (False, 6, {}) == line.start(100.1)
    assert 6 == line.covered_floor


def test_work_that_is_told_of_while_a_claim_is_under_way_is_looked_for_again():
    """The claim may have looked before that job was there, and nobody will tell of it twice."""
    line = Line(1, 1, "q")
    covering, _, _ = line.start(100.0)
    line.told()
    line.claimed(jobs((0, 80)), limit=10, covering=covering, safe=70, began_ord=0, now=100.1, took_s=0.1)
    told = line.has_work
    claim(line, [], limit=10, now=100.2, safe=70)

    assert (True, False) == (told, line.has_work)


def test_a_line_that_is_only_glanced_at_can_be_left_alone_again():
    """Not so when somebody has said that there is work, or a scan came back full."""
    glanced, told, full = Line(1, 1, "q"), Line(1, 2, "q"), Line(1, 3, "q")
    for line in (glanced, told):
        claim(line, [], limit=10, now=100.0, safe=70)
    for line in (glanced, told, full):
        line.glance(wanted=True)
    told.told()
    has_work = [line.has_work for line in (glanced, told, full)]
    for line in (glanced, told, full):
        line.glance(wanted=False)

    assert [True, True, True] == has_work
    assert [False, True, True] == [line.has_work for line in (glanced, told, full)]

"""Who hears what."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from trunkline.errors import RateLimited
from trunkline.realtime import ALL_JOBS, EVERYONE, Event, Rooms, batch_room, inbox_room, job_room, rooms_of, user_room
from trunkline.realtime.rooms import selection

JOB, OTHER = UUID(int=1), UUID(int=2)


def event(tenant_id: int = 1, **fields) -> Event:
    """Something that happened."""
    return Event(tenant_id, "", fields.pop("what", "started"), "started", b"null", datetime.now(UTC), **fields)


def test_a_member_of_several_rooms_hears_an_event_once():
    """In the order in which members came."""
    rooms: Rooms[str] = Rooms()
    for room in (job_room(JOB), user_room("u"), ALL_JOBS):
        rooms.join("a", 1, room)
    rooms.join("b", 1, user_room("u"))

    assert ["a", "b"] == sorted(rooms.members(event(job_id=JOB, user_id="u")))
    assert 2 == len(list(rooms.members(event(job_id=JOB, user_id="u"))))
    assert ["a"] == list(rooms.members(event(job_id=OTHER)))


def test_the_same_room_of_another_tenant_is_another_room():
    """Ids are a tenant's own."""
    rooms: Rooms[str] = Rooms()
    rooms.join("a", 1, job_room(JOB))
    rooms.join("b", 2, job_room(JOB))

    assert (["a"], ["b"]) == (list(rooms.members(event(1, job_id=JOB))), list(rooms.members(event(2, job_id=JOB))))


def test_every_event_has_its_rooms():
    """A user's event is no broadcast, a broadcast no job's."""
    assert (job_room(JOB), ALL_JOBS, user_room("u")) == rooms_of(event(job_id=JOB, user_id="u"))
    assert (batch_room(JOB), ALL_JOBS) == rooms_of(event(batch_id=JOB))
    assert (EVERYONE,) == rooms_of(event(what="broadcast"))
    assert (user_room("u"), inbox_room("u")) == rooms_of(event(what="broadcast", user_id="u"))


def test_who_leaves_hears_nothing_and_costs_nothing():
    """One room, or all; twice is once."""
    rooms: Rooms[str] = Rooms()
    assert (True, False) == (rooms.join("a", 1, ALL_JOBS), rooms.join("a", 1, ALL_JOBS))
    rooms.join("a", 1, EVERYONE)
    assert ([ALL_JOBS, EVERYONE], 1) == (rooms.rooms_of("a"), rooms.size(1, ALL_JOBS))
    assert (True, False) == (rooms.leave("a", 1, ALL_JOBS), rooms.leave("a", 1, ALL_JOBS))
    rooms.leave_all("a")
    rooms.leave_all("a")

    assert ([], [], 0) == (list(rooms.members(event(job_id=JOB))), rooms.rooms_of("a"), rooms.size(1, EVERYONE))
    assert ({}, {}) == (rooms._members, rooms._rooms)


def test_a_member_is_in_a_bounded_number_of_rooms():
    """One room again is no further one."""
    rooms: Rooms[str] = Rooms(most=2)
    rooms.join("a", 1, job_room(JOB))
    rooms.join("a", 1, job_room(OTHER))
    rooms.join("a", 1, job_room(OTHER))
    with pytest.raises(RateLimited):
        rooms.join("a", 1, ALL_JOBS)

    assert rooms.join("b", 1, ALL_JOBS)


def test_rooms_select_events():
    """Every one of them all: no filter."""
    assert None is selection([job_room(JOB), ALL_JOBS])
    assert ([JOB, OTHER], ["a:b"]) == selection([job_room(JOB), batch_room(OTHER), user_room("a:b"), EVERYONE])
    for forged in ("job:", "job:x", "nonsense", "user:", ""):
        with pytest.raises(ValueError):
            selection([forged])

"""A client that comes back gets what it missed, all of it once, on any gateway; or it is told that this cannot be."""

from __future__ import annotations

import base64

from tests.support.until import until
from trunkline.realtime import ALL_JOBS, EVERYONE, Replayed, TooOld, batch_room, inbox_room, job_room, user_room
from trunkline.store import events as store_events


def ids(replayed: Replayed | TooOld) -> list:
    """The jobs of what was replayed."""
    assert isinstance(replayed, Replayed), replayed
    return [event.job_id for event in replayed.events]


async def test_a_client_that_had_received_nothing_gets_everything_since_it_joined(queue, open_stream):
    """The stream it joined was killed; another one answers."""
    first = await open_stream(queue.tenant_id)
    before = await queue.put()
    await first.until(1)
    offset = first.stream.offset(queue.tenant_id)
    await first.stream.stop()
    missed = [await queue.put(), await queue.put()]
    second = await open_stream(queue.tenant_id)

    replayed = await second.stream.replay(queue.tenant_id, offset, [ALL_JOBS])
    assert missed == ids(replayed) and before not in ids(replayed)
    assert [] == ids(await second.stream.replay(queue.tenant_id, replayed.offset, [ALL_JOBS]))


async def test_a_transaction_that_commits_late_is_replayed(queue, open_stream, sessions):
    """The client has received later numbers than it will have."""
    told = await open_stream(queue.tenant_id)
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    late = await conn.fetchval("select trunkline.enqueue('work')")
    first, second = await queue.put(), await queue.put()
    await told.until(2)
    assert [first, second] == [event.job_id for event in told.events]
    offsets = [event.offset for event in told.events]
    await told.stream.stop()
    await transaction.commit()
    after = await queue.put()
    other = await open_stream(queue.tenant_id)

    assert [late, after] == ids(await other.stream.replay(queue.tenant_id, offsets[1], [ALL_JOBS]))
    assert {late, second, after} == set(missed := ids(await other.stream.replay(queue.tenant_id, offsets[0], [ALL_JOBS])))
    assert 3 == len(missed)


async def test_amid_a_burst_the_rest_of_it_is_replayed(queue, open_stream):
    """And replayed events have offsets to come back with."""
    told = await open_stream(queue.tenant_id)
    jobs = await queue.put_plain(5)
    await told.until(5)
    replayed = await told.stream.replay(queue.tenant_id, told.events[1].offset, [ALL_JOBS])
    again = await told.stream.replay(queue.tenant_id, replayed.events[0].offset, [ALL_JOBS])

    assert (jobs[2:], jobs[3:]) == (ids(replayed), ids(again))


async def test_the_live_stream_goes_on_where_the_replay_ends(queue, open_stream):
    """`join` is called between two bursts: what comes after it is not replayed, what came before is."""
    first = await open_stream(queue.tenant_id)
    offset = first.stream.offset(queue.tenant_id)
    missed = await queue.put()
    second = await open_stream(queue.tenant_id)
    live = []
    leave = []

    def join() -> None:
        leave.append(second.stream.subscribe(lambda burst: live.extend(event.job_id for event in burst)))

    replayed = await second.stream.replay(queue.tenant_id, offset, [ALL_JOBS], join=join)
    later = await queue.put()
    await until(lambda: later in live, "the later one is told")

    assert ([missed], [later]) == (ids(replayed), live)


async def test_only_events_of_the_rooms_are_replayed(queue, open_stream):
    """A job's, a batch's, a user's, and what is said to all."""
    store, tenant_id = queue.store, queue.tenant_id
    told = await open_stream(tenant_id)
    offset = told.stream.offset(tenant_id)
    mine, other, users = await queue.put(), await queue.put(), await queue.put(user_id="u-1")
    batch_id = await store.fetchval("select trunkline.batch('[]', '{}')")
    await store_events.broadcast(store, tenant_id, "hello", "1", None)
    await store_events.broadcast(store, tenant_id, "psst", "2", "u-1")
    await told.until(6)

    async def heard(*rooms: str) -> list:
        replayed = await told.stream.replay(tenant_id, offset, rooms)
        return [event.job_id or event.batch_id or event.status for event in replayed.events]

    assert [mine, other, users, batch_id, "hello"] == await heard(ALL_JOBS)  # live, who follows all jobs does not hear it either
    assert [mine, "hello"] == await heard(job_room(mine))
    assert [batch_id, "hello"] == await heard(batch_room(batch_id))
    assert [users, "hello", "psst"] == await heard(user_room("u-1"))
    assert ["hello"] == await heard(EVERYONE)
    assert ["hello", "psst"] == await heard(inbox_room("u-1"))
    assert [mine, users, "hello", "psst"] == await heard(job_room(mine), user_room("u-1"))


async def test_another_tenant_s_offset_replays_nothing_of_it(queue, open_stream):
    """Only what the asking tenant did, whatever the offset says."""
    other = await queue.store.fetchval("select trunkline.tenant_id('other')")
    told = await open_stream(other, queue.tenant_id)
    offset = told.stream.offset(queue.tenant_id)
    await queue.put()
    await told.until(1)

    assert [] == ids(await told.stream.replay(other, offset, [ALL_JOBS]))


async def test_longer_away_than_the_window_is_too_old(queue, clock, open_stream):
    """Never a part."""
    told = await open_stream(queue.tenant_id, window_s=30)
    offset = told.stream.offset(queue.tenant_id)
    await queue.put()
    await clock.forward(29)
    assert isinstance(await told.stream.replay(queue.tenant_id, offset, [ALL_JOBS]), Replayed)
    await clock.forward(2)

    assert isinstance(await told.stream.replay(queue.tenant_id, offset, [ALL_JOBS]), TooOld)


async def test_an_offset_from_before_nobody_watched_is_too_old(queue, clock, open_stream):
    """In between, moves left no events."""
    first = await open_stream(queue.tenant_id, window_s=300)
    offset = first.stream.offset(queue.tenant_id)
    await first.stream.stop()
    await clock.forward(200)
    second = await open_stream(queue.tenant_id, window_s=300)
    assert isinstance(await second.stream.replay(queue.tenant_id, offset, [ALL_JOBS]), Replayed)
    offset = second.stream.offset(queue.tenant_id)
    await second.stream.stop()
    await clock.forward(361)
    await queue.put()
    third = await open_stream(queue.tenant_id, window_s=600)

    assert 1 == await queue.count("job") and 0 == await queue.count("event")
    assert isinstance(await third.stream.replay(queue.tenant_id, offset, [ALL_JOBS]), TooOld)


async def test_more_than_the_limit_is_too_old(queue, open_stream):
    """Also where it is many bursts of one statement."""
    told = await open_stream(queue.tenant_id)
    offset = told.stream.offset(queue.tenant_id)
    await queue.put_plain(1001)

    assert isinstance(await told.stream.replay(queue.tenant_id, offset, [ALL_JOBS]), TooOld)
    await told.until(1001)
    assert 1000 == len(ids(await told.stream.replay(queue.tenant_id, told.events[0].offset, [ALL_JOBS])))
    assert isinstance(await told.stream.replay(queue.tenant_id, told.events[990].offset, [ALL_JOBS], limit=9), TooOld)


FORGED = [
    "",
    "0",
    "x",
    "1",
    "1AAAAAAAAAA.0",
    "1" + "A" * 5000 + ".0",
    "1gICAgICAgICAgA.1",
    "1" + "_" * 40 + ".zzzzzzzzzzzzz",
    "1AAAAAAAA.ö",
    "\0",
    None,
    7,
]


async def test_a_forged_offset_is_too_old(queue, open_stream):
    """Whatever is sent, nothing is raised."""
    told = await open_stream(queue.tenant_id)
    for forged in FORGED:
        assert isinstance(await told.stream.replay(queue.tenant_id, forged, [ALL_JOBS]), TooOld)
    assert isinstance(await told.stream.replay(queue.tenant_id, told.stream.offset(queue.tenant_id), ["no such room"]), TooOld)


async def test_every_changed_character_is_refused_or_harmless(queue, open_stream):
    """What decodes selects events of the tenant; nothing else happens."""
    told = await open_stream(queue.tenant_id)
    jobs = await queue.put_plain(3)
    offset = (await told.until(3))[1].offset
    for n in range(1, len(offset)):
        changed = offset[:n] + ("B" if offset[n] != "B" else "C") + offset[n + 1 :]
        replayed = await told.stream.replay(queue.tenant_id, changed, [ALL_JOBS])

        assert isinstance(replayed, TooOld) or set(ids(replayed)) <= set(jobs)
    padded = base64.urlsafe_b64encode(b"\xff" * 30).decode()
    assert isinstance(await told.stream.replay(queue.tenant_id, f"1{padded}.1", [ALL_JOBS]), TooOld)

"""One transaction after the other, the end of each beside the beginning of the next."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.engine.relay import BeforeBeginsAgain, BeforeFailed, Leg, Relay


class Story:
    """Transactions that read, wait to be let go on, and say what they do."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.may_end: dict[str, asyncio.Event] = {}

    def transaction(self, name: str, error: Exception | None = None):
        self.may_end[name] = asyncio.Event()

        async def run(leg: Leg) -> str:
            self.told.append(f"{name} reads")
            await asyncio.sleep(0)
            leg.hand_on()
            try:
                await self.may_end[name].wait()
                await leg.turn()
                if error is not None:
                    raise error
            except BaseException as reason:
                self.told.append(f"{name} undone: {type(reason).__name__}")
                raise
            self.told.append(f"{name} committed")
            return name

        return run


async def test_the_next_begins_when_the_one_before_has_read_and_not_when_it_is_committed():
    """So neither the source nor the database waits for the other."""
    story = Story()
    async with Relay() as relay:
        assert [] == await relay.run(story.transaction("first"))
        second = asyncio.create_task(relay.run(story.transaction("second")))
        story.may_end["second"].set()
        while len(story.told) < 2:
            await asyncio.sleep(0)
        before = list(story.told)
        story.may_end["first"].set()
        assert ["first"] == await second
        assert ["second"] == await relay.over()

    assert ["first reads", "second reads"] == before
    assert ["first committed", "second committed"] == story.told[2:]


async def test_at_most_two_are_under_way():
    """The third begins when the first is committed: nobody holds a third connection, nor the memory for it."""
    story = Story()
    async with Relay() as relay:
        await relay.run(story.transaction("first"))
        third = asyncio.create_task(relay.run(story.transaction("second")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not third.done()
        story.may_end["first"].set()
        assert ["first"] == await third
        story.may_end["second"].set()
        assert ["second"] == await relay.over()


async def test_none_is_committed_behind_one_that_failed():
    """Its jobs would be there without those before them; and who called hears of the first failure."""
    story = Story()
    with pytest.raises(ZeroDivisionError):
        async with Relay() as relay:
            await relay.run(story.transaction("first", ZeroDivisionError()))
            story.may_end["first"].set()
            story.may_end["second"] = asyncio.Event()
            await relay.run(story.transaction("second"))

    assert "first undone: ZeroDivisionError" in story.told
    assert story.told[-1] in ("second undone: BeforeFailed", "second undone: CancelledError")
    assert not [line for line in story.told if "committed" in line]


async def test_one_that_waits_for_its_turn_hears_that_the_one_before_failed():
    """It is undone by itself, whoever cancels it besides."""
    before = Leg(None)
    after = Leg(before)
    before.end(is_kept=False)

    for wait in (after.turn, after.begin_again):
        with pytest.raises(BeforeFailed):
            await wait()


async def test_where_one_begins_again_the_one_behind_it_does_and_follows_it():
    """It may stand before it, or hold a lock that the one before waits for. None begins behind them until they have ended."""
    told: list[str] = []
    may_go = asyncio.Event()

    def transaction(name: str, *, is_lost: bool = False):
        async def run(leg: Leg) -> str:
            leg.hand_on()
            try:
                if is_lost:
                    await may_go.wait()
                    raise BeforeBeginsAgain
                await leg.turn()
            except BeforeBeginsAgain:
                told.append(f"{name} undone")
                await leg.begin_again()
                await asyncio.sleep(0)
            told.append(f"{name} committed")
            return name

        return run

    async with Relay() as relay:
        await relay.run(transaction("first", is_lost=True))
        second = asyncio.create_task(relay.run(transaction("second")))
        for _ in range(5):
            await asyncio.sleep(0)
        may_go.set()
        assert ["first", "second"] == await second
        assert ["third"] == await relay.run(transaction("third")) + await relay.over()

    assert ["first undone", "second undone", "first committed", "second committed", "third committed"] == told


async def test_whoever_leaves_undoes_what_is_under_way():
    """A caller that gives up leaves no transaction open behind it."""
    story = Story()

    async def call() -> None:
        async with Relay() as relay:
            await relay.run(story.transaction("first"))
            await relay.run(story.transaction("second"))

    task = asyncio.create_task(call())
    while len(story.told) < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["first undone: CancelledError", "second undone: CancelledError"] == sorted(story.told[2:])


async def test_one_that_fails_before_it_has_read_is_heard_of_at_once():
    """Its caller would wait for ever for a source that nobody hands on."""

    async def fails(leg: Leg) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with Relay() as relay:
            await relay.run(fails)

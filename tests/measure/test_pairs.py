"""Interleaved pairs."""

from __future__ import annotations

from trunkline.measure.pairs import interleaved


async def test_sides_take_turns_and_every_other_pair_is_turned_round():
    """What grows during a pair then falls on both sides equally."""
    order = []

    async def side(name: str) -> str:
        order.append(name)
        return f"{name}{len(order)}"

    answers = await interleaved(3, lambda: side("a"), lambda: side("b"))

    assert ["a", "b", "b", "a", "a", "b"] == order
    assert [["a1", "a4", "a5"], ["b2", "b3", "b6"]] == answers

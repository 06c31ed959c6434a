"""What a measure says: a value, what it is compared with in the same run, and the bound it should keep.

Called by: every measure. Printed by: report.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours divided by the floor, pair by pair: the median, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[float], floor: Sequence[float]) -> Ratio:
        """From the values of each pair, in order."""
        each = [a / b for a, b in zip(ours, floor, strict=True)]
        return cls(statistics.median(each), min(each), max(each))


@dataclass(frozen=True, slots=True)
class Floor:
    """What we compare with: in words, its median in our unit, and the ratio."""

    what: str
    value: float
    ratio: Ratio

    @classmethod
    def of(cls, what: str, ours: Sequence[float], floor: Sequence[float]) -> Floor:
        """From the values of each pair, in order."""
        return cls(what, statistics.median(floor), Ratio.of(ours, floor))


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on `ratio`, `value` or one of the extra numbers; told, never enforced."""

    of: str
    sign: str  # ">=" or "<="
    bound: float

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {self.bound:g}"

    def is_met(self, numbers: Mapping[str, Any]) -> bool:
        """Whether the number keeps the bound."""
        number = float(numbers[self.of])
        return number >= self.bound if self.sign == ">=" else number <= self.bound


@dataclass(frozen=True, slots=True)
class Result:
    """One line.

    Attributes:
        value: median over the pairs.
        n: jobs (or samples) behind each value.
        pairs: how many values; 1 where one long run is its own average.
        floors: by name; the first is the one the ratio and the target are about. Empty where there is nothing to compare.
        verified: every job ran exactly once and its outcome is recorded.
        extra: further numbers, under their own names.
    """

    measure: str
    value: float
    unit: str
    n: int
    pairs: int
    verified: bool
    floors: Mapping[str, Floor] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded to what the measurement can tell apart."""
        line: dict[str, Any] = {"measure": self.measure, "system": "trunkline", "value": self.value, "unit": self.unit}
        first = next(iter(self.floors.values()), None)
        line |= {"floor": first and first.value, "floor_is": first and first.what}
        line |= _ratio(first.ratio) if first else {"ratio": None, "ratio_min": None, "ratio_max": None}
        line |= {"n": self.n, "pairs": self.pairs, "verified": self.verified, **self.extra}
        line["target"] = ", ".join(map(str, self.targets)) or None
        line["met"] = all(target.is_met(line) for target in self.targets) if self.targets else None
        line["floors"] = {name: {"is": floor.what, "value": floor.value, **_ratio(floor.ratio)} for name, floor in self.floors.items()}
        return {key: _rounded(value) for key, value in line.items()}


def _ratio(ratio: Ratio) -> dict[str, float]:
    return {"ratio": ratio.median, "ratio_min": ratio.low, "ratio_max": ratio.high}


def _rounded(value: Any) -> Any:
    """Four significant digits, and none cut off in front of the point."""
    if isinstance(value, float):
        return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value

"""What is kept of an error says what Python would have said, also from the second time on."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable

import pytest

from trunkline.engine import faults
from trunkline.engine.faults import STACKS, fault_of, trace_of


def plain(n: int) -> None:
    raise RuntimeError(f"number {n}")


def two_in_a_line(n: int) -> None:
    (plain if n % 2 else deep)(n)


def deep(n: int) -> None:
    deep(n - 1) if n > 0 else plain(n)


def caused(n: int) -> None:
    try:
        plain(n)
    except RuntimeError as error:
        raise ValueError("because") from error


def amid(n: int) -> None:
    try:
        plain(n)
    except RuntimeError:
        raise ValueError("while") from (None if n % 2 else ValueError("another"))


def in_context(n: int) -> None:
    try:
        plain(n)
    except RuntimeError:
        plain(n + 1)


def with_note(n: int) -> None:
    error = RuntimeError("noted")
    error.add_note(f"note {n}")
    raise error


def grouped(n: int) -> None:
    raise ExceptionGroup("several", [RuntimeError(f"{n}"), ValueError("other")])


def misspelt(n: int) -> None:
    number_of_things = n
    print(number_of_thing, number_of_things)  # type: ignore[name-defined]  # noqa: F821


def unparsed(n: int) -> None:
    compile(f"{n} +", "text", "exec")


def raised(fail: Callable[[int], None], n: int) -> BaseException:
    try:
        fail(n)
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("fail", [plain, two_in_a_line, caused, amid, in_context, with_note, grouped, misspelt, unparsed])
def test_a_trace_is_the_one_that_python_prints(fail):
    """Three times, with other messages and other ways through the same code."""
    errors = [raised(fail, n) for n in (1, 2, 3, 1)]

    assert ["".join(traceback.format_exception(error)) for error in errors] == [trace_of(error) for error in errors]


def test_a_stack_too_deep_to_be_kept_and_an_error_that_was_never_raised():
    """Neither is kept."""
    faults._stacks.clear()
    for error in (raised(deep, 200), RuntimeError("never raised")):
        assert "".join(traceback.format_exception(error)) == trace_of(error)
    assert {} == faults._stacks


def test_code_that_is_made_anew_each_time_does_not_fill_the_memory():
    """So many stacks are kept, then all are forgotten; never is one taken for another's."""
    for n in range(2 * STACKS):
        names: dict[str, Callable[[int], None]] = {}
        exec(f"def made(n):\n    raise RuntimeError('text {n}')", names)
        error = raised(names["made"], n)
        if n % 50 == 0:
            assert "".join(traceback.format_exception(error)) == trace_of(error)
        else:
            trace_of(error)

    assert len(faults._stacks) <= STACKS


def test_a_fault_has_type_message_time_and_trace():
    """As it is kept with the job."""
    kept = json.loads(fault_of(raised(plain, 1)))

    assert ("RuntimeError", "number 1") == (kept["type"], kept["message"])
    assert {"type", "message", "at", "traceback"} == kept.keys()
    assert kept["traceback"].startswith("Traceback (most recent call last):\n")


def test_a_key_error_says_what_it_is():
    """Python's own text of it is the key alone, which says nothing to who reads "failed: 'y'"."""
    kept = json.loads(fault_of(KeyError("y")))

    assert ("KeyError", "KeyError: 'y'") == (kept["type"], kept["message"])

"""Ctrl-C and SIGTERM, on both event loops."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.cli.program import environment

SCRIPT = """
import asyncio, sys, time
from trunkline.cli.interrupts import Interrupts, Stopped
from trunkline.cli.run import carry_out

async def work():
    if {plain}:
        assert type(asyncio.get_running_loop()).__module__.startswith("asyncio"), "this must be asyncio's own loop"
    with Interrupts() as interrupts:
        print("ready", flush=True)
        if {blocked}:
            while True:
                time.sleep(0.05)
        try:
            await interrupts.unless_asked(asyncio.sleep(600))
        except Stopped:
            print("asked", flush=True)
        if {stays}:
            await asyncio.sleep(600)

carry_out(work())
print("left", flush=True)
"""
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None\n"


def _started(*, plain: bool, blocked: bool = False, stays: bool = False) -> subprocess.Popen[str]:
    script = (WITHOUT_UVLOOP if plain else "") + SCRIPT.format(plain=plain, blocked=blocked, stays=stays)
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and "ready\n" == process.stdout.readline()
    return process


def _loops() -> list[bool]:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return [True]
    return [True, False]


@pytest.mark.parametrize("plain", _loops())
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(plain: bool, number: signal.Signals):
    """The work ends in its own time."""
    with _started(plain=plain) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert (0, "asked\nleft\n", "") == (process.returncode, out, err)


@pytest.mark.parametrize("plain", _loops())
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_the_process_at_once(plain: bool, number: signal.Signals, code: int):
    """With the code a shell gives to the signal."""
    with _started(plain=plain, stays=True) as process:
        process.send_signal(number)
        assert process.stdout is not None and "asked\n" == process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)

    assert (code, "Stopped at once. Jobs that were running are offered again within 10 s.\n") == (process.returncode, err)


@pytest.mark.parametrize("plain", _loops())
def test_a_blocked_loop_can_still_be_ended(plain: bool):
    """Two signals suffice even if a handler never lets the loop run again."""
    with _started(plain=plain, blocked=True) as process:
        while process.poll() is None:  # the kernel may join two equal signals into one
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

    assert process.returncode in (130, 143)

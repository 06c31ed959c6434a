"""Keeps a worker running until somebody asks to stop, then stops it and says what that did.

Always true: after `stop`, no job of this worker is running; each was reported, handed back, or is counted as unreported.
Called by: up, worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from trunkline.cli import show
from trunkline.cli.interrupts import Interrupts
from trunkline.cli.voice import Voice

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.engine import Stopped, Worker

TELL_EVERY_S = 1.0  # how often endings are summed up in a line
WORDS = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "deferred": "to be tried later",
    "ready": "handed back",
    "lost": "lost their lease",
}


async def until_asked(worker: Worker | None, interrupts: Interrupts, voice: Voice) -> None:
    """Wait for Ctrl-C or SIGTERM; meanwhile tell whoever looks, at most once a second, which jobs ended."""
    if worker is None or not (voice.as_json or sys.stdout.isatty()):
        await interrupts.asked.wait()  # a service's log is for what goes wrong
        return
    told: Counter[tuple[str, str]] = worker.counts.by_kind.copy()
    while not interrupts.asked.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_EVERY_S):
                await interrupts.asked.wait()
        _tell_endings(worker.counts.by_kind - told, voice)
        told = worker.counts.by_kind.copy()


async def stop(app: Trunkline, worker: Worker, voice: Voice, *, quiet: bool = False) -> int:
    """Stop claiming, let jobs finish or hand them back; the exit code. `quiet`: nobody asked, so a clean stop needs no words."""
    timeout_s = app.settings.shutdown_timeout_s
    running = worker.running
    if not (quiet or voice.as_json) and sys.stdout.isatty():
        sys.stdout.write("\r")  # over the ^C that the terminal printed
    if running:
        voice.say(f"Stopping: {show.count(running, 'job')} may finish within {show.span(timeout_s)}. Ctrl-C again stops at once.")
    voice.event("stopping", running=running, timeoutS=timeout_s)
    stopped = await _stopped(app, worker, timeout_s, voice)
    voice.event("stopped", finished=stopped.finished, handedBack=stopped.released, unreported=stopped.unflushed)
    line = f"Stopped: {stopped.finished} finished meanwhile, {stopped.released} handed back."
    if stopped.unflushed:
        voice.say(f"{line} {show.count(stopped.unflushed, 'report')} could not be written: these jobs will run again.", style="red")
        return 1
    if not quiet:
        voice.say(line)
    return 0


async def _stopped(app: Trunkline, worker: Worker, timeout_s: float, voice: Voice) -> Stopped:
    place = show.console(stderr=True)
    if voice.as_json or not place.is_terminal or not worker.running:
        return await app.stop_worker(timeout_s)
    ends_at = time.monotonic() + timeout_s
    stopping = asyncio.ensure_future(app.stop_worker(timeout_s))
    with place.status("") as status:
        while not stopping.done():
            left_s = max(ends_at - time.monotonic(), 0)
            status.update(f"{show.count(worker.running, 'job')} still running, {left_s:.0f} s left")
            await asyncio.wait({stopping}, timeout=0.2)
    return stopping.result()


def _tell_endings(new: Counter[tuple[str, str]], voice: Voice) -> None:
    kinds = sorted({kind for kind, _ in new})
    for kind in kinds:
        counts = {what: count for (of, what), count in new.items() if of == kind}
        said = ", ".join(f"{count} {WORDS.get(what, what)}" for what, count in counts.items())
        voice.say(f"{time.strftime('%H:%M:%S')}  {kind}: {said}", style="dim" if counts.keys() == {"completed"} else None)
        voice.event("endings", kind=kind, **counts)

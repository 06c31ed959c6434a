"""What a process of a run can be: a worker or a producer of ours, or the one of a floor that stands beside it.

Always true: what is timed begins after `ready` and `go`, with everything imported and connected; times are
`time.monotonic`, which all processes of one host share.
Called by: child.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from trunkline.measure.roles import apis, floors, gateways, listeners, producers, remotes, stock, tellers, workers

Role = Callable[..., Coroutine[Any, Any, None]]  # (parent, url, **arguments)

ROLES: dict[str, Role] = {
    "work": workers.work,
    "answer": workers.answer,
    "hold": workers.hold,
    "share": workers.share,
    "enqueue": producers.enqueue,
    "enqueue_single": producers.enqueue_single,
    "feed": producers.feed,
    "gateway": gateways.serve,
    "api": apis.api,
    "remote": remotes.remote,
    "caller": remotes.caller,
    "listen": listeners.listen,
    "stock": stock.stock,
    "tell": tellers.tell,
    "hear": tellers.hear,
    "floor_copy": floors.copy,
    "floor_driver": floors.driver,
    "floor_work": floors.work,
    "floor_answer": floors.answer,
    "floor_feed": floors.feed,
}

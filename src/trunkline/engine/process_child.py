"""The child's end of engine.processes: reads a request a line, runs the function, answers a line.

What a handler prints goes to standard error, so that it cannot be taken for an answer.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import SimpleNamespace
from typing import Any

from structlog.contextvars import bind_contextvars, clear_contextvars

from trunkline.model import Fail, RetryAfter, Snooze
from trunkline.model.binding import Bind, bind
from trunkline.model.payload import decode, encode
from trunkline.observe import logs

LEVELS = ("debug", "info", "warning", "error")
_plans: dict[tuple[str, str], tuple[Any, Bind]] = {}


def main() -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    logs.set_up(*_how_to_log())
    for line in sys.stdin:
        request = decode(line)
        clear_contextvars()
        bind_contextvars(**request["about"])
        answers.write(encode(_serve(request["module"], request["function"], request["payload"]), max_bytes=64 * 1024 * 1024) + "\n")
        answers.flush()


def _how_to_log() -> tuple[str, Any]:
    """As the parent was told; it has checked that."""
    level, form = (os.environ.get(f"TRUNKLINE_LOG_{name}", "").lower() for name in ("LEVEL", "FORMAT"))
    return level if level in LEVELS else "info", form if form in ("console", "json") else "auto"


def _serve(module: str, name: str, payload: str) -> dict[str, Any]:
    try:
        function, plan = _plan(module, name)
        args, kwargs = plan(SimpleNamespace(payload_text=payload))
        result = function(*args, **kwargs)
        if isinstance(result, (Fail, Snooze, RetryAfter)):
            raise result
        encode(result, what="result")
        return {"result": result}
    except Fail as error:
        return {"fail": str(error)}
    except Snooze as error:
        return {"snooze": error.seconds}
    except RetryAfter as error:
        return {"retry_after": error.seconds, "reason": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever the handler raised is its answer
        return {"type": type(error).__name__, "error": str(error).encode("utf-8", "replace").decode().replace("\x00", "\ufffd")}


def _plan(module: str, name: str) -> tuple[Any, Bind]:
    if (module, name) not in _plans:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        function = getattr(function, "__wrapped__", function)
        _plans[module, name] = (function, bind(function, name, takes_job=False))
    return _plans[module, name]


if __name__ == "__main__":
    main()

"""A local HTTP server that answers as the documentation of OpenAI's chat completions says: streams, limits and errors.

Always true: it listens on loopback only and is gone with its `with` block.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Answer = tuple[int, dict[str, str], Any]  # status, headers, body: a dict, or a list of chunks to stream


class Provider:
    """`asked` holds (headers by their names in lower case, body) of each request; `answer` makes the answers."""

    def __init__(self, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.answer = answer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Provider:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                provider.asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status, headers, answer = provider.answer(body) if self.path == "/v1/chat/completions" else (404, {}, {})
                lines = (
                    [f"data: {json.dumps(chunk)}\n\n" for chunk in answer] + ["data: [DONE]\n\n"]
                    if isinstance(answer, list)
                    else [json.dumps(answer)]
                )
                self.send_response(status)
                for name, value in {
                    "content-type": "text/event-stream" if isinstance(answer, list) else "application/json",
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                for line in lines:
                    self.wfile.write(line.encode())
                    self.wfile.flush()

            def log_message(self, *_: object) -> None: ...

        return Handler


def chunks(*texts: str, finish: str = "stop", usage: tuple[int, int] | None = (7, 3)) -> list[dict[str, Any]]:
    """A stream that says these texts."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    said = [{**head, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)} if usage else None
    return [*said, end, *([{**head, "choices": [], "usage": counts}] if counts else [])]


def refusal(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as the provider writes it."""
    return status, headers, {"error": {"message": message, "type": "error", "param": None, "code": code}}

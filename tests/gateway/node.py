"""The stock Socket.IO client from npm in a process of its own; what happens to it comes as JSON lines."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.until import until

FOLDER = Path(__file__).parents[1] / "node"


class Node:
    """One program of tests/node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[tuple[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    @staticmethod
    def is_there() -> bool:
        """Whether `make test` has installed the packages."""
        return shutil.which("node") is not None and (FOLDER / "node_modules").is_dir()

    @classmethod
    async def start(cls, program: str, *arguments: str) -> Node:
        """Run it; skips where `make test` has not installed the packages."""
        if not cls.is_there():
            pytest.skip("node or tests/node/node_modules is not there: run make test, or npm ci in tests/node")
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec("node", str(FOLDER / program), *arguments, stdin=pipe, stdout=pipe))

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            what, data = json.loads(line)
            self.lines.append((what, data))

    def seen(self, what: str) -> list[Any]:
        """Everything of one kind so far."""
        return [data for said, data in self.lines if said == what]

    async def saw(self, what: str, count: int = 1) -> list[Any]:
        """The first `count` of one kind, once they are there."""
        await until(lambda: len(self.seen(what)) >= count, f"{count} × {what}; there is {self.lines}")
        return self.seen(what)

    async def order(self, line: str) -> None:
        """Say something to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def stop(self) -> None:
        """End it."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await asyncio.gather(self._reader, return_exceptions=True)

"""A remote worker in a process of its own: `python -m tests.client.worker_program URL TOKEN FOLDER`. Its handler `hold` notes each
start and end in the folder, and ends when the file `go` is there."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import trunkline.client
from tests.support.until import until
from tests.support.worker_process import end_with_the_parent


async def main(url: str, token: str, folder: Path) -> None:
    """Work until SIGTERM."""
    async with trunkline.client.connect(url, token, stop_timeout=10) as client:

        @client.worker("hold", concurrency=2)
        async def hold(job: trunkline.client.Job) -> int:
            (folder / f"started-{job.attempt}").touch()
            try:
                await until((folder / "go").exists, "the file go", within_s=60)
            except asyncio.CancelledError:
                (folder / f"stopped-{job.attempt}").write_text(str(job.stop_reason))
                raise
            return os.getpid()

        (folder / "up").touch()
        await client.work()
    (folder / "over").touch()


if __name__ == "__main__":
    end_with_the_parent()
    logging.basicConfig(level="INFO")
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))

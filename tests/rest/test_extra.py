"""Without the extra `server` everything else works, and who asks for a port is told what to install."""

from __future__ import annotations

import asyncio
import json
import os
import sys

PROGRAM = """
import sys
for package in ("engineio", "fastapi", "httptools", "jwt", "socketio", "starlette", "uvicorn", "websockets"):
    sys.modules[package] = None

import asyncio
import json

from trunkline import Trunkline
from trunkline.errors import InvalidSetting

async def main():
    said = []
    async with Trunkline() as app:
        for wanted in (lambda: app.asgi, lambda: app.router):
            try:
                wanted()
            except InvalidSetting as error:
                said.append(str(error))
        try:
            await app.start_gateway(port=0)
        except InvalidSetting as error:
            said.append(str(error))
        port = await app.start_metrics(port=0)
    print(json.dumps([*said, port]))

asyncio.run(main())
"""


async def test_what_is_not_installed_is_a_sentence(trunkline_url: str):
    """`pip install trunkline[embedded]`, then `trunkline up`: a worker without a port, and no traceback."""
    env = {**os.environ, "TRUNKLINE_DATABASE_URL": trunkline_url}
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()

    *said, port = json.loads(out)
    assert 3 == len(said) and all("Install it: pip install 'trunkline[server]'" in one for one in said), said
    assert port

"""Put a job in over HTTP and wait for it, with nothing but a token: trunkline[server] is enough."""

import asyncio
import json
import urllib.request

from trunkline import Trunkline
from trunkline.auth import Tokens

app = Trunkline()


@app.job("resize")
async def resize(path: str) -> dict:
    return {"resized": path}


def ask(method: str, url: str, token: str, body: dict | None = None) -> dict:
    """One request, as any program in any language would make it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def main() -> None:
    async with app:
        server = await app.start_gateway(port=0, mode="development", api=True)
        await app.start_worker()
        _, token = await Tokens(app.store).create(await app.tenant_id(None), scopes=["send"])
        api = f"http://127.0.0.1:{server.port}/api"
        made = await asyncio.to_thread(ask, "POST", f"{api}/jobs", token, {"type": "resize", "payload": {"path": "a.png"}})
        ended = await asyncio.to_thread(ask, "GET", f"{api}/jobs/{made['id']}/wait?timeout=20", token)
        print(ended["status"], ended["result"])


asyncio.run(main())

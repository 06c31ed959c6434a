"""Payloads and results that stand encrypted in the database, and fields that are refused where they would not be.

python examples/encrypted.py          (needs trunkline[encryption])
"""

from __future__ import annotations

import asyncio

from cryptography.fernet import Fernet

from trunkline import Trunkline
from trunkline.errors import SecretInPayload

# In earnest: TRUNKLINE_ENCRYPTION_KEYS in the environment of every process, made by `trunkline keys generate`.
app = Trunkline(encryption_keys=Fernet.generate_key().decode())


@app.job("sync-mailbox", encrypt=True)
async def sync_mailbox(host: str, password: str) -> dict[str, str]:
    return {"read": f"12 messages from {host}"}


async def main() -> None:
    async with app:
        await app.start_worker()
        job_id = await app.enqueue("sync-mailbox", {"host": "mail.example.com", "password": "correct horse"})
        print(await app.wait(job_id, timeout=30))
        stored = await app.store.fetchval("select payload::text from trunkline.job where id = $1", job_id)
        print("in the database:", stored[:60], "...")
        try:
            await app.enqueue("greet", {"name": "Ada", "auth": {"api_key": "k-123"}})
        except SecretInPayload as error:
            print("refused:", error)
        report = await app.privacy.check()
        print("values under the first key:", sum(count for (_, key), count in report.by_key.items() if key == 1))


if __name__ == "__main__":
    asyncio.run(main())

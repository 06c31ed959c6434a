"""Register a database, read its schema, export a query: python examples/connections.py (needs trunkline[schema,encryption])"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet

from trunkline import Trunkline
from trunkline.jobtypes import declare


async def main(folder: Path) -> None:
    with sqlite3.connect(folder / "shop.db") as shop:
        shop.execute("create table customer (id integer primary key, name text)")
        shop.executemany("insert into customer (name) values (?)", [("Ann",), ("=Bob()",)])
    shop.close()
    settings = {"encryption_keys": Fernet.generate_key().decode(), "connection_hosts": str(folder), "files_dir": str(folder / "files")}
    async with Trunkline(**settings) as app:
        declare(app, "schema-rebuild", "data-export")
        await app.start_worker()
        made = await app.connections.create(f"sqlite:///{folder}/shop.db", name="shop")
        print(made.server, "at", made.url)

        rebuild = await app.connections.rebuild("shop")
        print("tables:", (await app.wait(rebuild.job_id, timeout=30))["totalTables"])
        job_id = await app.enqueue("data-export", {"connectionId": str(made.id), "sql": "select * from customer order by id"})
        print("rows:", (await app.wait(job_id, timeout=30))["rows"])
        print((await app.files.open(job_id)).path.read_text())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(Path(place).resolve()))

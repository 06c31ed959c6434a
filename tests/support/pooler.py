"""A real PgBouncer in transaction mode in front of a test's server, when this host has one (Debian: `apt-get install pgbouncer`)."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.support.until import until_now

BINARY = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


class Pooler:
    """Runs from `start` to `stop`; `url` leads through it. Few server connections on purpose: clients must share them."""

    def __init__(self, url: str, *, server_connections: int = 6) -> None:
        parts = urlsplit(url)
        host, user = parse_qs(parts.query)["host"][0], parts.username or parse_qs(parts.query).get("user", ["trunkline"])[0]
        database = unquote(parts.path.removeprefix("/"))
        self._folder = Path(tempfile.mkdtemp(prefix="tl-bouncer-", dir="/tmp"))
        self._folder.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        port = parse_qs(parts.query).get("port", [str(parts.port or 5432)])[0]
        (self._folder / "bouncer.ini").write_text(
            f"[databases]\n{database} = host={host} port={port} user={user} dbname={database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self._port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\nmax_client_conn = 200\n"
            f"default_pool_size = {server_connections}\nserver_login_retry = 1\n"
        )
        self._as = pwd.getpwuid(Path(host).stat().st_uid).pw_name  # who may reach the server's socket; PgBouncer refuses to be root
        self.url = f"postgresql://{quote(user)}@127.0.0.1:{self._port}/{quote(database)}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        assert BINARY is not None
        command = [BINARY, "-q", str(self._folder / "bouncer.ini")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._as if os.geteuid() == 0 else None, stdout=log, stderr=log)
        until_now(self._answers, "PgBouncer takes connections")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        """kill -9; every client's connection is cut, whatever it was doing."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it and forget its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

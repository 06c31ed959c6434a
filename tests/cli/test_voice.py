"""What long-running commands tell the service manager."""

from __future__ import annotations

import socket
from pathlib import Path
from uuid import uuid4

import pytest

from trunkline.cli.voice import Voice, tell_manager


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told_when_it_is_ready_and_when_it_stops(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And of nothing else; the two forms an address has."""
    shown = f"/tmp/tl-{uuid4().hex[:8]}" if kind == "path" else f"@tl-{uuid4().hex[:8]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(shown.replace("@", "\0", 1))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", shown)
        voice = Voice(as_json=False)
        for event in ("metrics", "ready", "endings", "stopping", "stopped"):
            voice.event(event)

        assert [b"READY=1", b"STOPPING=1"] == [manager.recv(100), manager.recv(100)]
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    Path(shown).unlink(missing_ok=True)


@pytest.mark.parametrize("address", [None, "", "nonsense", "/nobody/listens/here", "@nobody"])
def test_without_a_manager_nothing_is_said_and_nothing_fails(address, monkeypatch: pytest.MonkeyPatch):
    """Started by a person, a container or pm2."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False) if address is None else monkeypatch.setenv("NOTIFY_SOCKET", address)

    tell_manager("READY=1")

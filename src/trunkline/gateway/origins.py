"""Which pages of browsers may speak to us. The token is the credential, never a cookie, so this only keeps other people's pages out.

Always true: without an Origin header (no browser) the token alone decides; with one it must be that of our own address, or be
listed; `null` is nobody's.
Called by: server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Origins:
    """Those that are listed (Settings.origins_in); `*` is everybody."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(listed)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with this Origin, sent to `host`, is heard. A proxy may have ended TLS, so either scheme is our own."""
        if origin is None:
            return True
        said = origin.lower()
        return (
            "*" in self._listed
            or said in self._listed
            or (host is not None and said in (f"https://{host.lower()}", f"http://{host.lower()}"))
        )

    def allows_scope(self, scope: Mapping[str, Any]) -> bool:
        """The same for an ASGI scope; two Origin headers are none of ours."""
        headers = scope.get("headers", ())
        origins = [value.decode("latin-1") for name, value in headers if name.lower() == b"origin"]
        hosts = [value.decode("latin-1") for name, value in headers if name.lower() == b"host"]
        return len(origins) < 2 and self.allows(origins[0] if origins else None, hosts[0] if hosts else None)

    def allows_environ(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """The same in the words of the Socket.IO library, which answers the CORS headers by it."""
        return self.allows(origin, environ.get("HTTP_HOST"))

"""`Api`: what all requests of one process share: who asks, how often, and the services of the application.

Always true: the application is opened by the first request, or before; a request without a good credential reaches nothing; closing
ends what was begun here and leaves the application open.
Called by: doors, rest.route.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.requests import Request

from trunkline.audit import Audit
from trunkline.auth import Customers, Mode, Principal, Tokens, mode_of, prepare
from trunkline.auth.people import People
from trunkline.auth.users import Users, looks_like_jwt
from trunkline.errors import Unauthenticated
from trunkline.rest.pace import Pace
from trunkline.rest.services import Services

Subscribe = Callable[[Callable[[str, list[str]], None]], Callable[[], None]]
FAILED_RATE, FAILED_BURST = 5.0, 50.0  # requests without a good credential, of one address
MOST_WAITS = 100  # long polls of one principal at once


class Api:
    """One per process."""

    def __init__(
        self,
        services: Services,
        subscribe: Callable[[], Subscribe],
        *,
        mode: Mode | None = None,
        is_embedded: Callable[[], bool] = lambda: False,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self.services, self.reserved = services, reserved
        self.settings = services.settings
        self._subscribe, self._mode, self._is_embedded = subscribe, mode, is_embedded
        self._pace = Pace(self.settings.api_rate, self.settings.api_rate * 2)
        self._strangers = Pace(FAILED_RATE, FAILED_BURST)
        self.waits: dict[tuple[int, str], int] = {}
        self.uploads: dict[tuple[int, str], int] = {}
        self._opening = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._customers: Customers | None = None
        self.began_at = time.monotonic()

    @property
    def mode(self) -> Mode:
        """Development or production."""
        return self._mode or mode_of(self.settings, is_embedded=self._is_embedded())

    @mode.setter
    def mode(self, mode: Mode) -> None:
        """Say so, before the first request."""
        self._mode = mode

    async def ready(self) -> None:
        """Open what requests need. Twice is once.

        Raises:
            InvalidSetting: production, and the test token is live. Unavailable: the database cannot be reached.
        """
        if self._customers is None:
            async with self._opening:
                await self._open()

    async def _open(self) -> None:
        if self._customers is None:
            store = await self.services.open()
            self.settings = self.services.settings
            await prepare(store, self.mode)
            customers, self.users = Customers(store), Users(store, self.settings)
            self.tokens, self.people, self.audit = Tokens(store), People(store), Audit(store)
            self._unsubscribe = self._subscribe()(customers.heard)
            self._task = asyncio.create_task(customers.run())
            self._customers = customers

    async def close(self) -> None:
        """End it; the next request would open it again."""
        customers, self._customers = self._customers, None
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if customers is not None:
            await customers.note_used()

    async def principal(self, request: Request) -> Principal:
        """Who makes this request, unless there are too many of them.

        Raises:
            Unauthenticated: no good credential. Refused: 429.
        """
        try:
            principal = await self._principal(request)
        except Unauthenticated:
            self._strangers.take(request.client.host if request.client else "")
            raise
        await self.services.known_tenant_id(principal.tenant)  # known from here on, so that nobody asks while holding a connection
        self._pace.take((principal.tenant_id, principal.user_id, principal.token_id))
        return principal

    async def _principal(self, request: Request) -> Principal:
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise Unauthenticated("Authentication required: send Authorization: Bearer <token>.")
        assert self._customers is not None
        credential = credential.strip()
        if self.users.is_configured and looks_like_jwt(credential):
            return await self.users.principal(credential)
        return await self._customers.principal(credential)

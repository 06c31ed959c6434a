"""Seals jobs of encrypted kinds on their way in.

A process knows that a kind is encrypted because it declares its handler, or because the database refused a plain payload: then it
asks which kinds are, and seals. So kinds that are not encrypted cost no question and no look.
Always true: what was sealed stays sealed with the same text when its flush is repeated; without a key nothing gets in.
Called by: engine.producer, engine.together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from trunkline.engine.vault import Vault, is_sealed
from trunkline.errors import InvalidPayload, MustEncrypt
from trunkline.model import NewJob, new_job
from trunkline.store import Store, privacy

T = TypeVar("T")
AT_ONCE = 1000  # jobs sealed on the loop; more are sealed in a thread


class Sealing:
    """What this process knows of encrypted kinds. `anywhere` and `learned`: kinds, and kinds of one tenant.

    Attributes:
        new_job: `model.new_job` by the settings of the application that this belongs to.
    """

    def __init__(self, vault: Vault | None, *, max_bytes: int) -> None:
        self.vault = vault
        self._max_bytes = max_bytes
        self.new_job: Callable[..., NewJob] = partial(new_job, max_bytes=max_bytes)
        self.anywhere: set[str] = set()
        self.learned: set[tuple[int, str]] = set()

    def knows_any(self) -> bool:
        """Whether any kind at all is known to be encrypted."""
        return bool(self.anywhere or self.learned)

    def concerns(self, tenant_id: int, job: NewJob) -> bool:
        """Whether the payload of this job must be sealed."""
        return job.kind in self.anywhere or (tenant_id, job.kind) in self.learned

    def sealed(self, tenant_id: int, jobs: Sequence[NewJob]) -> list[NewJob]:
        """The same jobs, those of encrypted kinds sealed.

        Raises:
            MustEncrypt: there is no key. NotReadable, InvalidPayload: a payload came sealed and is for another place, or too large.
        """
        return [self._one(tenant_id, job) if self.concerns(tenant_id, job) else job for job in jobs]

    async def sealed_aside(self, tenant_id: int, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """The same, where the loop must not wait: 20,000 take half a second."""
        if len(jobs) <= AT_ONCE:
            return self.sealed(tenant_id, jobs)
        return await asyncio.to_thread(self.sealed, tenant_id, jobs)

    def _one(self, tenant_id: int, job: NewJob) -> NewJob:
        if is_sealed(job.payload):  # a process without a key may pass it on
            if self.vault is not None:
                size = len(self.vault.open(tenant_id, job.kind, [job.id], "payload", job.payload).encode())
                if size > self._max_bytes:
                    raise InvalidPayload(f"payload has {size} bytes before encryption, at most {self._max_bytes} are accepted.")
            return job
        if self.vault is None:
            raise MustEncrypt(
                f"kind {job.kind!r} is encrypted and this process has no key. Set TRUNKLINE_ENCRYPTION_KEYS to the keys that its workers have."
            )
        return job._replace(payload=self.vault.seal(tenant_id, job.kind, job.id, "payload", job.payload))

    def learn(self, tenant_id: int, kinds: set[str]) -> bool:
        """Remember that these kinds of a tenant are encrypted; whether that was news."""
        new = {(tenant_id, kind) for kind in kinds} - self.learned
        self.learned |= new
        return any(kind not in self.anywhere for _, kind in new)

    async def sending(self, store: Store, tenant_id: int, jobs: Sequence[NewJob], send: Callable[[Sequence[NewJob]], Awaitable[T]]) -> T:
        """What `send` answers; after a refusal because a kind is encrypted it is called once more, with those jobs sealed."""
        if self.knows_any():
            jobs = await self.sealed_aside(tenant_id, jobs)
        try:
            return await send(jobs)
        except MustEncrypt:
            if not await self.ask(store, tenant_id, jobs):
                raise
            return await send(await self.sealed_aside(tenant_id, jobs))

    async def asked(self, store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """The jobs as they go into a transaction of the caller, which no refusal may break: the database is asked first."""
        await self.ask(store, tenant_id, jobs)
        return self.sealed(tenant_id, jobs) if self.knows_any() else jobs

    async def ask(self, store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> bool:
        """After a refusal: find out which of the kinds are encrypted; whether that was news."""
        return self.learn(tenant_id, await privacy.sealed_kinds(store, tenant_id, sorted({job.kind for job in jobs})))

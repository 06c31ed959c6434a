"""What an application can do about encrypted kinds besides declaring them: seal by hand, show, count by key, rotate, switch off.

Always true: `reveal` shows a value only to a process that has its key, and says so where it cannot; `rotate` never holds a plain
value longer than it takes to seal it again, and can be stopped at any time: what is done stays done, and a second run goes on.
Called by: app, cli.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import structlog

from trunkline.engine.handlers import Handler
from trunkline.engine.reach import Reach
from trunkline.engine.sealing import Sealing
from trunkline.engine.vault import END, MARK, PAYLOAD, Vault, What, is_sealed, sealed_text
from trunkline.errors import InvalidSetting, NotReadable, SecretInPayload, Unavailable
from trunkline.model import JobView, NewJob, as_uuid, kind_name, new_job
from trunkline.model.payload import decode, encode
from trunkline.model.secret_fields import ENVELOPE, Envelope, SecretFields
from trunkline.store import Store, privacy

PAGE_BYTES = 4_000_000  # a page that had more is followed by a shorter one
PAGE_ROWS = (50, 2000)
PLACES: tuple[What, ...] = ("payload", "result", "checkpoint", "connection")
KEPT_BY = ("template", "schedule", "callback")
HIDDEN: Final = {ENVELOPE: "v1"}  # what is shown of a value that cannot be opened here
HIDDEN_TEXT: Final = f'{{"{ENVELOPE}":"v1"}}'
NO_KEYS = "TRUNKLINE_ENCRYPTION_KEYS is not set. Set it to the keys that encrypted, the newest first."

log = structlog.get_logger("trunkline.privacy")


@dataclass(slots=True)
class KeyReport:
    """What a walk found: encrypted values by (payload, result or checkpoint; key position from 1, 0 for none of ours).

    Attributes:
        rows: rows looked at.
        moved: values that were put under the first key.
        unreadable: some jobs, templates, connections, ... with a value that no key opens, at most 100.
        plain: templates, schedules and callbacks whose payload is from before their kind was encrypted, at most 100.
    """

    by_key: Counter[tuple[str, int]]
    unreadable: list[UUID | str]
    plain: list[str] = field(default_factory=list)
    rows: int = 0
    moved: int = 0


class Privacy:
    """Part of an application (`app.privacy`)."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.vault = Vault.of(reach.settings)
        self.sealing = Sealing(self.vault, max_bytes=reach.settings.payload_max_bytes)
        self._secret_fields = SecretFields.of(reach.settings.secret_fields)
        self.sealing.new_job = self.new_job
        self._trusted: set[str] = set()  # kinds whose payloads may have such fields

    def declared(self, handler: Handler, *, allow_secrets: bool) -> None:
        """A handler of this process: what it enqueues of an encrypted kind is sealed without being told by the database."""
        if handler.seals & PAYLOAD:
            self.sealing.anywhere.add(handler.kind)
        if handler.seals & PAYLOAD or allow_secrets:
            self._trusted.add(handler.kind)

    def kept(self) -> tuple[frozenset[str], frozenset[str]]:
        """What was declared so far, for `keep_only`."""
        return frozenset(self.sealing.anywhere), frozenset(self._trusted)

    def keep_only(self, before: tuple[frozenset[str], frozenset[str]], kinds: Collection[str]) -> None:
        """Forget what was declared since `before`, but for these kinds: their handlers were not taken."""
        self.sealing.anywhere = set(before[0]) | (self.sealing.anywhere & set(kinds))
        self._trusted = set(before[1]) | (self._trusted & set(kinds))

    def new_job(self, kind: str, payload: Any, **options: Any) -> NewJob:
        """`model.new_job` with the settings of this application."""
        if self._trusted and kind_name(kind) in self._trusted:
            options.setdefault("allow_secrets", True)
        return new_job(kind, payload, max_bytes=self._reach.settings.payload_max_bytes, secret_fields=self._secret_fields, **options)

    async def checked(self, kind: str, payload: Any, tenant: str | None, options: dict[str, Any]) -> NewJob:
        """The same; before a secret or what `seal` made is refused, the database is asked whether the kind is encrypted."""
        if payload.__class__ is dict and ENVELOPE in payload and await self.is_encrypted(kind, tenant=tenant):
            payload = Envelope(payload)
        try:
            return self.new_job(kind, payload, **options)
        except SecretInPayload:
            if not await self.is_encrypted(kind, tenant=tenant):
                raise
            return self.new_job(kind, payload, **{**options, "allow_secrets": True})

    async def seal(self, kind: str, payload: Any, *, tenant: str | None = None) -> Envelope:
        """A payload sealed for any job of an encrypted kind, for those who enqueue without the key."""
        text = encode(payload, max_bytes=self._reach.settings.payload_max_bytes)
        tenant_id = await self._reach.tenant_id(tenant)
        return _envelope(self._vault().seal(tenant_id, kind_name(kind), None, "payload", text))

    def reveal(self, job: JobView) -> JobView:
        """The job with its encrypted payload and result opened; {"$encrypted": "v1"} stands for what cannot be."""
        if ENVELOPE not in _keys(job.payload) and ENVELOPE not in _keys(job.result):
            return job
        return replace(job, payload=self._shown(job, "payload", job.payload), result=self._shown(job, "result", job.result))

    def reveal_result(self, tenant_id: int, kind: str, job_ids: Sequence[UUID], text: str) -> str:
        """A result (JSON text) opened for one of these jobs where this process has the key; {"$encrypted": "v1"} where it cannot be."""
        if not is_sealed(text):
            return text
        with suppress(NotReadable):
            if self.vault is not None:
                return self.vault.open(tenant_id, kind, job_ids, "result", text)
        return HIDDEN_TEXT

    async def stop(self, kind: str, *, tenant: str | None = None) -> None:
        """Let plain payloads of a kind in again, from every process that does not declare it encrypted. Jobs that are there stay as they are."""
        await privacy.seal_kind(await self._reach.open(), await self._reach.tenant_id(tenant), kind, 0)

    async def is_encrypted(self, kind: str, *, tenant: str | None = None) -> bool:
        """Whether payloads of this kind are encrypted in a tenant."""
        return bool(await privacy.sealed_kinds(await self._reach.open(), await self._reach.tenant_id(tenant), [kind_name(kind)]))

    async def check(self, on_page: Callable[[KeyReport], None] = lambda report: None) -> KeyReport:
        """Count what is encrypted with which key, in all tenants. Reads every row that is kept."""
        return await self._walk(on_page, moves=False)

    async def rotate(self, on_page: Callable[[KeyReport], None] = lambda report: None) -> KeyReport:
        """Put everything that an older key encrypted under the first key, in all tenants, a page at a time; encrypt what is kept plain.

        A job that is copied meanwhile may keep the old key: `check` tells; run it again until nothing is left.
        """
        return await self._walk(on_page, moves=True)

    async def _walk(self, on_page: Callable[[KeyReport], None], *, moves: bool) -> KeyReport:
        vault, store = self._vault(), await self._reach.open()
        report = KeyReport(Counter(), [])
        for what in PLACES:
            async for rows in _pages(store, what):
                new: dict[int, list[tuple[UUID, str, str]]] = defaultdict(list)
                for tenant_id, job_id, sealed in rows:
                    if is_sealed(sealed) and sealed is not None:
                        _look(vault, report, what, tenant_id, job_id, sealed, new)
                if moves:
                    for tenant_id, values in new.items():
                        report.moved += await privacy.reseal(store, tenant_id, what, values)
                report.rows += len(rows)
                on_page(report)
        for kept_by in KEPT_BY:
            async for page in _kept_pages(store, kept_by):
                for one in page:
                    new_text = _look_kept(vault, report, kept_by, one)
                    if moves and new_text is not None:
                        report.moved += await privacy.reseal_kept(store, kept_by, one, new_text)
                report.rows += len(page)
                on_page(report)
        return report

    async def seal_kept(self) -> None:
        """Encrypt what templates, schedules and callbacks keep in plain text from before their kinds were encrypted.

        A worker that declares such kinds does so when it starts; one that it cannot write now is left for the next.
        """
        if self.vault is None or not self.sealing.anywhere:
            return
        try:
            for kept_by in KEPT_BY:
                async for page in _kept_pages(await self._reach.open(), kept_by):
                    for one in page:
                        if one.is_encrypted and one.text is not None and not is_sealed(one.text):
                            text = self.vault.seal(one.tenant_id, one.kind, None, "payload", one.text)
                            await privacy.reseal_kept(await self._reach.open(), kept_by, one, text)
        except Unavailable as error:
            log.warning("privacy.kept_plain", error=str(error))

    def _shown(self, job: JobView, what: What, value: Any) -> Any:
        if ENVELOPE not in _keys(value):
            return value
        copied_from = job.options.get("dead_letter_of") if isinstance(job.options, dict) else None
        ids = [job.id, *([as_uuid(copied_from)] if copied_from else [])]
        with suppress(NotReadable):
            if self.vault is not None and (text := sealed_text(value)) is not None:
                return decode(self.vault.open(job.tenant_id, job.kind, ids, what, text))
        return dict(HIDDEN)

    def _vault(self) -> Vault:
        if self.vault is None:
            raise InvalidSetting(NO_KEYS)
        return self.vault


def conceal(job: JobView) -> JobView:
    """The job with {"$encrypted": "v1"} in the place of what is encrypted."""
    hidden: dict[str, Any] = {name: dict(HIDDEN) for name in ("payload", "result") if ENVELOPE in _keys(getattr(job, name))}
    return replace(job, **hidden) if hidden else job


def is_hidden(value: Any) -> bool:
    """Whether this stands for an encrypted value that was not opened."""
    return bool(value == HIDDEN)


async def _pages(store: Store, what: What) -> AsyncIterator[list[privacy.Row]]:
    after, limit = (0, UUID(int=0)), PAGE_ROWS[0]
    while rows := await privacy.page(store, what, after, limit):
        yield rows
        after = rows[-1][:2]
        size = sum(len(row.sealed or "") for row in rows)
        limit = max(limit // 4, 1) if size > PAGE_BYTES else min(limit * 2, PAGE_ROWS[1])
        await asyncio.sleep(0)  # opening takes time of the loop


def _look(
    vault: Vault, report: KeyReport, what: What, tenant_id: int, job_id: UUID, sealed: str, new: dict[int, list[tuple[UUID, str, str]]]
) -> None:
    try:
        position = vault.position(tenant_id, sealed)
    except NotReadable:
        report.by_key[what, 0] += 1
        if len(report.unreadable) < 100:
            report.unreadable.append(job_id)
        return
    report.by_key[what, position] += 1
    if position > 1 and (text := vault.resealed(tenant_id, sealed)) is not None:
        new[tenant_id].append((job_id, sealed, text))


async def _kept_pages(store: Store, what: str) -> AsyncIterator[list[privacy.Kept]]:
    after = (0, "")
    while rows := await privacy.kept_page(store, what, after, PAGE_ROWS[0]):
        yield rows
        after = rows[-1][:2]


def _look_kept(vault: Vault, report: KeyReport, what: str, one: privacy.Kept) -> str | None:
    """Count it; the text to put in its place, None where it may stay."""
    name = f"{what} {one.name!r} of tenant {one.tenant_id}"
    if one.text is None or not is_sealed(one.text):
        if not one.is_encrypted or one.text is None:
            return None
        if len(report.plain) < 100:
            report.plain.append(name)
        return vault.seal(one.tenant_id, one.kind, None, "payload", one.text)
    try:
        position = vault.position(one.tenant_id, one.text)
    except NotReadable:
        report.by_key[what, 0] += 1
        if len(report.unreadable) < 100:
            report.unreadable.append(name)
        return None
    report.by_key[what, position] += 1
    return vault.resealed(one.tenant_id, one.text)


def _envelope(sealed: str) -> Envelope:
    return Envelope({ENVELOPE: "v1", "token": sealed.removeprefix(MARK).removesuffix(END)})


def _keys(value: Any) -> Any:
    return value if isinstance(value, dict) else ()

"""One attempt of a sync: the portal's fields to a mapping, its changes to rows, rows and place to the table.

Always true: what a batch brought is in the table together with the place behind it, or neither is; no change behind the time at which
the attempt began is taken, so it ends however much is changed meanwhile; it begins `overlap_s` before the place, because a change may
become visible later than its time says, and writing by id makes what was there already no double.
Blocking, in a thread of its own; requests run on the loop. Called by: crm_sync.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from trunkline.connections import Connection
from trunkline.connections.bitrix24 import TooLarge
from trunkline.connections.failures import refused as translated
from trunkline.jobtypes.crm.landing import Overtaken, Standing, SyncLanding
from trunkline.jobtypes.crm.mapping import MULTIFIELD, chosen, fields_of
from trunkline.jobtypes.crm.pages import MOST_PAGES, PAGE, Item, Place, Question, in_order
from trunkline.jobtypes.crm.source import Source
from trunkline.jobtypes.imports import values
from trunkline.jobtypes.schema.bridge import Bridge
from trunkline.model import Fail, RetryAfter

LONG_BATCH_S, SHORT_BATCH_S = 20.0, 5.0  # past the first a batch is halved, below the second doubled
OVERTAKEN_S = 30.0
MOST_TOLD = 20  # refused items that the result names


@dataclass(frozen=True, slots=True)
class Order:
    """What to bring, from where to where."""

    tenant_id: int
    job_id: str
    portal_id: str
    entity_type_id: int
    target: Connection
    table: str
    schema: str | None
    mapping: Mapping[str, str] | None
    full: bool
    overlap_s: float

    @property
    def sync_id(self) -> str:
        """The same for every run of this type from this portal into this table."""
        return _digest([self.tenant_id, self.portal_id, self.entity_type_id, self.schema, self.table])


@dataclass(slots=True)
class Done:
    """What all attempts of the job did, and which items this one had to leave out."""

    seen: int = 0
    written: int = 0
    refused: int = 0
    until: str | None = None
    refusals: list[dict[str, Any]] = field(default_factory=list)


def run(order: Order, source: Source, bridge: Bridge) -> Done:
    """Bring everything that changed.

    Raises:
        Fail: webhook, rights, mapping or table are wrong. RetryAfter: the portal asked to wait, or somebody else goes on with this sync.
        ConnectionFailed: worth another attempt.
    """
    try:
        with SyncLanding(order.target, order.table, order.schema, key="id" if order.mapping is None else order.mapping["id"]) as landing:
            fields = fields_of(bridge.ask(source.call("crm.item.fields", {"entityTypeId": order.entity_type_id})).result)
            mapping = chosen(order.mapping, fields, landing.columns(), order.table)
            return _Attempt(order, source, bridge, landing, mapping).through()
    except Overtaken:
        raise RetryAfter(OVERTAKEN_S, "another job brings the same items into the same table. Give them one unique_key.") from None
    except TooLarge as error:
        raise Fail(f"the portal's answer is larger than is read at once ({error}). Name fewer fields in the mapping.") from None
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        failure = translated(error, order.target, "sync into")
    raise failure  # outside of the handler, so that the driver's words do not travel along as its context


class _Attempt:
    def __init__(self, order: Order, source: Source, bridge: Bridge, landing: SyncLanding, mapping: Mapping[str, values.Column]) -> None:
        self._order, self._source, self._bridge, self._landing, self._mapping = order, source, bridge, landing, mapping
        self._done = Done()

    def through(self) -> Done:
        order = self._order
        asked = None if MULTIFIELD in self._mapping else tuple(dict.fromkeys(("id", "updatedTime", *self._mapping)))
        question = Question(order.entity_type_id, asked)
        digest = _digest([sorted((name, str(column.name)) for name, column in self._mapping.items())])
        standing = self._landing.begin(order.sync_id, digest, order.job_id, full=order.full)
        behind = first = Place(standing.place.at - timedelta(seconds=order.overlap_s), 0) if standing.place else None
        pages, ended = 1, False
        while not ended:
            try:
                answer, found = self._bridge.ask(self._source.pages(question, behind, pages))
            except TooLarge:
                if pages == 1:
                    raise
                pages = max(pages // 4, 1)
                continue
            question = replace(question, until=question.until or answer.at)
            placed = in_order([item for page in found for item in page], behind)
            standing = self._land(standing, placed)
            if placed:
                behind = placed[-1][0]
            ended = len(found[-1]) < PAGE
            first = first or behind
            if not ended:
                self._tell(first, behind, question.until)
                self._bridge.ask(self._source.pause(answer))
                pages = _next(pages, len(found), answer.took_s)
        return self._done

    def _land(self, standing: Standing, placed: Sequence[tuple[Place, Item]]) -> Standing:
        rows, ids, unfit = [], [], 0
        for place, item in placed:
            row, wrong = self._landing.row_of(item, self._mapping)
            if wrong:
                unfit += 1
                self._refuse(place.id, *wrong[0])
            else:
                rows.append(row)
                ids.append(place.id)
        # Within the overlap it may not move back: a crash there would only make the next overlap longer, but one in a row never ends.
        reached = placed[-1][0] if placed and (standing.place is None or placed[-1][0] > standing.place) else None
        then, refused = self._landing.land(self._order.sync_id, standing, rows, unfit, reached)
        for n, why in refused:
            self._refuse(ids[n], None, why)
        self._done.seen, self._done.written, self._done.refused = then.seen, then.written, then.refused
        self._done.until = then.place.at.isoformat() if then.place else None
        return then

    def _refuse(self, identity: int, name: str | None, why: str) -> None:
        if len(self._done.refusals) < MOST_TOLD:
            self._done.refusals.append({"id": identity, "field": name, "reason": why})

    def _tell(self, first: Place | None, behind: Place | None, until: str | None) -> None:
        """How near the last change is to now: there is no other measure, as the portal is not made to count."""
        percent = 50.0
        if first is not None and behind is not None and until is not None:
            whole = (datetime.fromisoformat(until) - first.at).total_seconds()
            percent = 5 + 90 * min(max((behind.at - first.at).total_seconds() / whole, 0.0), 1.0) if whole > 0 else percent
        self._bridge.report(
            round(percent, 2), f"{self._done.written:,} items written, {self._done.refused:,} refused", current=self._done.seen
        )


def _next(asked: int, found: int, took_s: float) -> int:
    """Pages of the next request: twice as many while the portal is quick, half where it is slow or halted."""
    if found < asked or took_s > LONG_BATCH_S:
        return max(min(asked // 2, found), 1)
    return min(asked * 2, MOST_PAGES) if took_s < SHORT_BATCH_S else asked


def _digest(what: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(what)).hexdigest()

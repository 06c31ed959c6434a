"""Asks a Bitrix24 portal for the items of one type that changed behind a place, in pages of 50 and batches of up to 50 pages.

Items come in the order (updatedTime, id), and a page begins behind the last item of the one before, by value and not by number: an item
that changes meanwhile moves to the end and moves no other across a page's border. In a batch each page names the last item of the
page before it (`$result[...]`), so a batch is one request of the portal's bucket and up to 2,500 items. What comes behind the first page
that is not full is no page of ours and is not looked at.
Always true: `start` is -1, which spares the portal counting; items that are handed on are behind the place that was asked for, in order.
Needs no extra. Called by: crm.run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from trunkline.model import Fail

PAGE, MOST_PAGES = 50, 50
Item = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a sync is: everything up to this item, in the order of (updatedTime, id), was taken. `id` 0: before the first of that second."""

    at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: the type, its fields (None: all of them), and no changes behind `until`, as the portal writes times."""

    entity_type_id: int
    select: tuple[str, ...] | None
    until: str | None = None


def one_page(question: Question, behind: Place | None) -> dict[str, Any]:
    """The parameters of crm.item.list for the page behind a place; None: the first of all."""
    if behind is None:
        return _parameters(question, None, None)
    return _parameters(question, _written(behind.at), behind.id)


def batch(question: Question, behind: Place | None, pages: int) -> dict[str, Any]:
    """The parameters of `batch` for up to 50 pages in a row; it halts at the first that fails."""
    commands = {"p0": f"crm.item.list?{_query(one_page(question, behind))}"}
    for n in range(1, pages):
        last = f"$result[p{n - 1}][items][{PAGE - 1}]"
        commands[f"p{n}"] = f"crm.item.list?{_query(_parameters(question, f'{last}[updatedTime]', f'{last}[id]'))}"
    return {"halt": 1, "cmd": commands}


def items_of(result: Any) -> list[Item]:
    """The items of one page. Fail: the portal answers something else."""
    items = result.get("items") if isinstance(result, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Fail("the portal answers crm.item.list without items.")
    return items


def in_order(items: list[Item], behind: Place | None) -> list[tuple[Place, Item]]:
    """Each item with its place.

    Raises:
        Fail: an item has no id or time, or is not behind the one before it: going on would miss or repeat some.
    """
    found: list[tuple[Place, Item]] = []
    for item in items:
        place = _place(item)
        if behind is not None and place <= behind:
            raise Fail(f"the portal answers item {place.id} out of order (by updatedTime and id): nothing is written from here on.")
        found.append((place, item))
        behind = place
    return found


def _place(item: Item) -> Place:
    try:
        at = datetime.fromisoformat(str(item["updatedTime"]))
        identity = int(item["id"])
    except (KeyError, ValueError):
        raise Fail("the portal answers an item without id and updatedTime, by which changes are found.") from None
    return Place(at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC), identity)


def _parameters(question: Question, at: str | None, identity: int | str | None) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if at is not None and identity == 0:
        changed[">=updatedTime"] = at
    elif at is not None:
        changed["0"] = {"logic": "OR", "0": {">updatedTime": at}, "1": {"=updatedTime": at, ">id": identity}}
    if question.until is not None:
        changed["<=updatedTime"] = question.until
    return {
        "entityTypeId": question.entity_type_id,
        **({} if question.select is None else {"select": list(question.select)}),
        **({"filter": changed} if changed else {}),
        "order": {"updatedTime": "ASC", "id": "ASC"},
        "start": -1,
    }


def _query(parameters: dict[str, Any], name: str = "") -> str:
    """As PHP reads it: a[b][c]=d, every name and value percent-encoded."""
    pairs = []
    for key, value in parameters.items():
        path = f"{name}[{key}]" if name else key
        if isinstance(value, list):
            value = {str(n): one for n, one in enumerate(value)}
        pairs.append(_query(value, path) if isinstance(value, dict) else f"{quote(path, safe='')}={quote(str(value), safe='')}")
    return "&".join(pairs)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")

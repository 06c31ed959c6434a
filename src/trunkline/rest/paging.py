"""Pages: numbers and cursors of a request, and what is answered about them.

Called by: rest.routes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query
from msgspec import UNSET

from trunkline.engine.records import LOOKS
from trunkline.rest.answers import Pagination
from trunkline.rest.problems import Refused

T = TypeVar("T")
PageNumber = Annotated[int, Query(ge=1, le=LOOKS, description="From 1; further pages by `cursor`.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Entries of a page.")]
Cursor = Annotated[str | None, Query(max_length=100, description="`nextCursor` of the page before; `page` is not looked at then.")]


def offset_of(page: int, limit: int) -> int:
    """How many entries lie before a page.

    Raises:
        Refused: 422, so far only cursors lead.
    """
    if page * limit >= LOOKS:
        raise Refused(422, "invalid_input", f"page {page} of {limit} lies behind the first {LOOKS} entries: follow nextCursor instead.")
    return (page - 1) * limit


def sliced(found: Sequence[T], page: int, limit: int) -> tuple[list[T], Pagination]:
    """A page of a list that is there as a whole (at most 1,000 entries)."""
    begin = (page - 1) * limit
    return list(found[begin : begin + limit]), pagination(page, limit, len(found))


def pagination(page: int, limit: int, total: int, cursor: str | None = None, *, is_capped: bool = False) -> Pagination:
    """What is said about a page. `is_capped`: there may be more than `total`."""
    return Pagination(
        page=page,
        limit=limit,
        total=total,
        total_pages=math.ceil(total / limit),
        total_capped=is_capped or UNSET,
        next_cursor=UNSET if cursor is None else cursor,
    )


__all__ = ["Cursor", "Limit", "PageNumber", "offset_of", "pagination", "sliced"]

"""The portal as a sync asks it: a permit before each request, and the portal's own limits obeyed for everybody.

Always true: one request takes one permit, a batch as well; when the portal asks to wait, or a method has nearly used up the time that it
may work, the limit key is shut before the attempt ends (`RetryAfter`, which counts no failure).
Called by: crm_sync, crm.run.
"""

from __future__ import annotations

from typing import Any

from trunkline.connections.bitrix24 import Answer, Portal, Throttled
from trunkline.engine import Permits
from trunkline.jobtypes.crm.pages import PAGE, Item, Place, Question, batch, items_of, one_page
from trunkline.model import RetryAfter

NEARLY_SHUT_S = 440.0  # of the 480 seconds that a method may work in ten minutes
NOT_SAID_S = 60.0


class Source:
    """One portal and its permits; `requests` counts what was sent."""

    def __init__(self, portal: Portal, permits: Permits) -> None:
        self._portal, self._permits = portal, permits
        self.requests = 0

    async def call(self, method: str, parameters: dict[str, Any]) -> Answer:
        """Send one request. Raises as `Portal.call`, and RetryAfter where the portal asks to wait."""
        await self._permits.take()
        self.requests += 1
        try:
            return await self._portal.call(method, parameters)
        except Throttled as asked:
            await self._permits.shut(asked.seconds)
            raise RetryAfter(asked.seconds, str(asked)) from None

    async def pages(self, question: Question, behind: Place | None, pages: int) -> tuple[Answer, list[list[Item]]]:
        """Up to so many pages behind a place; behind one that is not full there is none."""
        if pages == 1:
            answer = await self.call("crm.item.list", one_page(question, behind))
            return answer, [items_of(answer.result)]
        answer = await self.call("batch", batch(question, behind, pages))
        results, errors = _each(answer.result, "result"), _each(answer.result, "result_error")
        found: list[list[Item]] = []
        for n in range(pages):
            if f"p{n}" not in results:
                if not found:
                    await self._refuse(errors.get("p0"))
                break  # it halted here: asked for again by itself, the page says why
            found.append(items_of(results[f"p{n}"]))
            if len(found[-1]) < PAGE:
                break
        return answer, found

    async def pause(self, answer: Answer) -> None:
        """End the attempt where the method is nearly used up: before the portal shuts it, for everybody."""
        if answer.operating_s >= NEARLY_SHUT_S:
            wait_s = answer.free_in_s or NOT_SAID_S
            await self._permits.shut(wait_s)
            raise RetryAfter(wait_s, f"the portal's method has worked {answer.operating_s:.0f} of 480 s in ten minutes")

    async def _refuse(self, error: Any) -> None:
        said = error if isinstance(error, dict) else {}
        refusal = self._portal.refusal("crm.item.list", None, str(said.get("error") or ""), str(said.get("error_description") or ""))
        if isinstance(refusal, Throttled):
            await self._permits.shut(refusal.seconds)
            raise RetryAfter(refusal.seconds, str(refusal))
        raise refusal


def _each(result: Any, name: str) -> dict[str, Any]:
    """One part of a batch's answer by command; PHP writes an empty one as a list, and one with the keys 0, 1, ... never comes of ours."""
    part = result.get(name) if isinstance(result, dict) else None
    return part if isinstance(part, dict) else {}

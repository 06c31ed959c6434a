"""An example of each answer, for the OpenAPI document; a route that says something else has its own.

Always true: each is one that its type allows (tested).
Called by: rest.openapi.
"""

from __future__ import annotations

from typing import Any

from trunkline.rest import answers, recurring

ID = "01970000-0000-7000-8000-000000000001"
AT, LATER = "2027-01-31T09:00:00Z", "2027-02-01T02:00:00Z"
PAGE = {"page": 1, "limit": 20, "total": 1, "totalPages": 1}
FAILED = {"id": ID, "type": "resize", "status": "failed", "attempts": 3, "createdAt": AT, "error": "no such file: a.png"}
DETAIL = {"state": "failed", "queue": "resize", "userId": "user-1", "priority": 5, "failures": 3, "runAt": None, "deadline": None}
SCHEDULE = {
    "name": "nightly",
    "type": "resize",
    "template": None,
    "payload": {"path": "a.png"},
    "options": {},
    "cron": "0 3 * * *",
    "every": None,
    "at": None,
    "tz": "Europe/Berlin",
    "missed": "once",
    "missedLimit": 100,
    "state": "active",
    "nextRunAt": LATER,
    "lastRunAt": None,
    "pausedAt": None,
    "error": None,
    "createdAt": AT,
    "updatedAt": AT,
}
TEMPLATE = {"name": "thumbnail", "type": "resize", "payload": {"width": 80}, "options": {"priority": 5}, "updatedAt": AT}
QUEUE = {"name": "resize", "paused": False, "pausedAt": None, "waiting": 3, "deferred": 1, "active": 2}
TOKEN = {"id": ID, "description": "importer", "scopes": ["send"], "active": True, "live": True}
TOKEN |= {"createdAt": AT, "expiresAt": None, "lastUsedAt": None}
STEPS = [
    {"jobId": ID, "status": "completed", "timestamp": LATER, "attempt": 1, "data": {"ok": True}},
    {"jobId": ID, "status": "in_progress", "timestamp": LATER, "attempt": None, "data": {"percentage": 50, "message": "halfway"}},
    {"jobId": ID, "status": "started", "timestamp": LATER, "attempt": 1, "data": None},
    {"jobId": ID, "status": "queued", "timestamp": AT, "attempt": None, "data": None},
]
WHY = {"code": "paused", "message": f"Its queue 'resize' is paused since {AT}."}
ME = {"tenant": "acme", "userId": "user-1", "tokenId": None, "scopes": ["send", "watch"], "email": "ann@example.org"}

EXAMPLES: dict[type | None, Any] = {
    answers.Made: {"id": ID, "type": "resize", "status": "queued", "createdAt": AT},
    answers.Jobs: {"data": [{**FAILED, "detail": DETAIL}], "pagination": PAGE},
    answers.Message: {"message": "Job cancelled"},
    answers.Requested: {"message": "Job cancellation requested"},
    answers.Count: {"count": 3, "more": False},
    answers.History: {"data": STEPS},
    answers.Explanation: {"id": ID, "status": "queued", "state": "queued", "reasons": [WHY]},
    recurring.Schedule: SCHEDULE,
    recurring.Schedules: {"data": [SCHEDULE], "pagination": PAGE},
    recurring.Firings: {"data": [{"dueAt": AT, "firedAt": AT, "jobId": ID, "byHand": False}]},
    answers.Switched: {"name": "resize", "paused": True, "changed": True},
    recurring.Template: TEMPLATE,
    recurring.Templates: {"data": [TEMPLATE], "pagination": PAGE},
    answers.Queues: {"data": [QUEUE], "pagination": PAGE},
    answers.Size: {"name": "resize", "size": 4},
    answers.Token: TOKEN,
    answers.Tokens: {"data": [TOKEN], "pagination": PAGE},
    answers.Me: {**ME, "locale": "de-DE", "timeZone": "Europe/Berlin", "firstSeenAt": AT},
}

"""Jobs and queues as JSON documents: the field names of the REST API, so that a script reads both alike.

Always true: names of ours are camelCase; payload, result, error, progress and options are passed on as they are.
Called by: enqueue, jobs, dead_letters, queues, limits, watch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.model import JobView
    from trunkline.store.limits import LimitView
    from trunkline.store.read import QueueView


def job_document(job: JobView) -> dict[str, Any]:
    """Everything about where a job stands."""
    return {
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "state": job.state,
        "priority": job.priority,
        "attempt": job.attempt,
        "failures": job.failures,
        "userId": job.user_id,
        "createdAt": job.created_at,
        "runAt": job.run_at,
        "startedAt": job.started_at,
        "deadline": job.deadline,
        "finishedAt": job.finished_at,
        "payload": job.payload,
        "options": job.options,
        "progress": job.progress,
        "result": job.result,
        "error": job.error,
    }


def queue_document(queue: QueueView) -> dict[str, Any]:
    """A queue with its live counts."""
    return {
        "name": queue.name,
        "pausedAt": queue.paused_at,
        "ready": queue.ready,
        "deferred": queue.deferred,
        "active": queue.active,
        "failed": queue.failed,
    }


def limit_document(limit: LimitView) -> dict[str, Any]:
    """A limiter: whose, its bounds, and how full it is."""
    return {
        "scope": limit.scope,
        "queue": limit.queue,
        "kind": limit.kind,
        "key": limit.key,
        "isSet": limit.is_own,
        "concurrency": limit.concurrency,
        "rate": limit.rate,
        "burst": limit.burst,
        "running": limit.running,
        "promised": limit.promised,
        "waiting": limit.waiting,
        "nextAt": limit.next_at,
        "blockedUntil": limit.blocked_until,
        "pausedAt": limit.paused_at,
    }

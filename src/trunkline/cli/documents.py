"""Jobs and queues as JSON documents: the field names of the REST API, so that a script reads both alike.

Always true: names of ours are camelCase; payload, result, error, progress and options are passed on as they are.
Called by: enqueue, jobs, dead_letters, queues, schedules, templates, batches, limits, watch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.model import BatchView, JobView, ScheduleView, TemplateView
    from trunkline.store.limits import LimitView
    from trunkline.store.read import QueueView


def job_document(job: JobView) -> dict[str, Any]:
    """Everything about where a job stands; {"$encrypted": "v1"} for what is encrypted and was not opened."""
    from trunkline.engine.privacy import conceal

    job = conceal(job)
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


def schedule_document(one: ScheduleView) -> dict[str, Any]:
    """A schedule with its rule and where it stands."""
    return {
        "name": one.name,
        "kind": one.kind,
        "template": one.template,
        "payload": one.payload,
        "options": one.options,
        "cron": one.rule.cron,
        "everyS": one.rule.every_s,
        "at": one.rule.at,
        "startsAt": one.rule.starts_at,
        "timeZone": one.rule.time_zone,
        "missed": one.missed,
        "missedLimit": one.missed_limit,
        "state": one.state,
        "nextRunAt": one.next_run_at,
        "lastRunAt": one.last_run_at,
        "pausedAt": one.paused_at,
        "error": one.error,
        "declaredByCode": one.declared_by_code,
    }


def template_document(one: TemplateView) -> dict[str, Any]:
    """A template."""
    return {"name": one.name, "kind": one.kind, "payload": one.payload, "options": one.options, "updatedAt": one.updated_at}


def batch_document(batch: BatchView) -> dict[str, Any]:
    """A batch with its counts."""
    return {
        "id": batch.id,
        "name": batch.name,
        "state": batch.state,
        "done": batch.is_done,
        "total": batch.total,
        "completed": batch.completed,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
        "createdAt": batch.created_at,
        "sealedAt": batch.sealed_at,
        "cancelledAt": batch.cancelled_at,
        "doneAt": batch.done_at,
        "successJobId": batch.success_job,
        "completeJobId": batch.complete_job,
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

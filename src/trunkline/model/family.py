"""Parents and children among jobs on their way in: options added to a checked job, and an order in which parents come first."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any
from uuid import UUID

import msgspec

from trunkline.errors import InvalidInput
from trunkline.model.job import NewJob

MOST_PARENTS = 1000


def options_of(job: NewJob) -> dict[str, Any]:
    """The options of a job that was checked; {} for a plain one."""
    return {} if job.options is None else dict(msgspec.json.decode(job.options))


def parents_of(job: NewJob) -> list[str]:
    """The ids it waits for, as text."""
    return list(options_of(job).get("depends_on", ())) if job.options is not None and '"depends_on"' in job.options else []


def is_tied(job: NewJob) -> bool:
    """Whether its enqueue looks at rows of others: it has parents or a batch."""
    return job.options is not None and ('"depends_on"' in job.options or '"batch_id"' in job.options)


def in_batch(job: NewJob, batch_id: UUID) -> NewJob:
    """The same job as a child of a batch.

    Raises:
        InvalidInput: it is another batch's.
    """
    if job.options is None:
        return job._replace(options=f'{{"batch_id":"{batch_id}"}}')
    options = options_of(job)
    if options.setdefault("batch_id", str(batch_id)) != str(batch_id):
        raise InvalidInput(f"job {job.id} belongs to batch {options['batch_id']}: leave batch_id out.")
    return job._replace(options=msgspec.json.encode(options).decode())


def after(job: NewJob, parents: Sequence[UUID]) -> NewJob:
    """The same job, waiting for `parents` besides those it has.

    Raises:
        InvalidInput: they are more than 1,000.
    """
    if not parents:
        return job
    options = options_of(job)
    options["depends_on"] = sorted({*options.get("depends_on", ()), *map(str, parents)})
    if len(options["depends_on"]) > MOST_PARENTS:
        raise InvalidInput(
            f"job {job.id} would wait for {len(options['depends_on'])} jobs: {MOST_PARENTS} is the most. Put a job in between."
        )
    return job._replace(options=msgspec.json.encode(options).decode())


def parents_first(jobs: Sequence[NewJob]) -> list[int]:
    """Places of the jobs in an order in which each comes after its parents; otherwise as they are.

    Raises:
        InvalidInput: some wait for each other in a circle; names their ids.
    """
    waits = {at: parents for at, job in enumerate(jobs) if (parents := parents_of(job))}
    if not waits:
        return list(range(len(jobs)))
    place = {str(job.id): at for at, job in enumerate(jobs)}
    left = {at: {place[parent] for parent in parents if parent in place} for at, parents in waits.items()}
    children: dict[int, list[int]] = {}
    for at, parents_at in left.items():
        for parent in parents_at:
            children.setdefault(parent, []).append(at)
    free = [at for at in range(len(jobs)) if not left.get(at)]  # a heap: the first of those that may come is next
    order: list[int] = []
    while free:
        order.append(at := heappop(free))
        for child in children.get(at, ()):
            left[child].discard(at)
            if not left[child]:
                heappush(free, child)
    if len(order) < len(jobs):
        circle = sorted(str(jobs[at].id) for at in set(range(len(jobs))) - set(order))
        raise InvalidInput(f"jobs wait for each other in a circle: {', '.join(circle[:10])}{', …' if len(circle) > 10 else ''}.")
    return order

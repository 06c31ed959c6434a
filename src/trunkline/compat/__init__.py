"""For code that was written for a polling queue in a table: the same verbs and statuses over this one (docs/compat.md).

from trunkline.compat import QueueFactory
queue = QueueFactory.get_queue()
await queue.add_job("ai_generation", {"conversationId": "conv_123"}, priority=5, idempotency_key="unique_key_123")
"""

from trunkline.compat.factory import QueueFactory
from trunkline.compat.queue import CompatJob, CompatQueue, Status

__all__ = ["CompatJob", "CompatQueue", "QueueFactory", "Status"]

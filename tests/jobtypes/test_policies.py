"""What the documented systems say about retries: `retryLimit`, `retryDelay`, `expireInHours`, and `2^attempts` seconds for `maxAttempts` 3."""

from __future__ import annotations

import pytest

from trunkline.jobtypes import ai_generation, crm_sync, data_export, lead_import, schema_rebuild

THREE_ATTEMPTS = {"retry_limit": 2, "retry_delay": 2, "retry_backoff": True}
SAID = {
    schema_rebuild: {"retry_limit": 3, "retry_delay": 60, "retry_backoff": True, "timeout": 24 * 3600},
    data_export: {"retry_limit": 2, "retry_delay": 30, "retry_backoff": True, "timeout": 12 * 3600},
    ai_generation: THREE_ATTEMPTS,
    crm_sync: THREE_ATTEMPTS,
    lead_import: THREE_ATTEMPTS,
}


@pytest.mark.parametrize(("kind", "said"), SAID.items(), ids=[kind.KIND for kind in SAID])
def test_a_job_type_is_tried_again_as_its_document_says(kind, said):
    """Whatever else it says."""
    assert said == {name: kind.POLICY[name] for name in said}

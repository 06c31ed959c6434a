"""Properties: what holds after any calls in any order, sequential against a model and concurrent without one."""

import pytest

pytest.register_assert_rewrite("tests.properties.machine")  # its asserts say what differs, as those of test modules do

"""`trunkline serve` and `trunkline audit`, as a newcomer types them."""

from __future__ import annotations

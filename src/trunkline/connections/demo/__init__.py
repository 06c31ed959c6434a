"""A believable business database for the demonstration and the tests: `shop.sql`, and `prepare` to create it."""

from trunkline.connections.demo.prepare import prepare_demo_database

__all__ = ["prepare_demo_database"]

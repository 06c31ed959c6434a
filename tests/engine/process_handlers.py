"""Handlers that run in processes of their own, so they stand in a module of their own."""

from __future__ import annotations


def echo(payload: dict) -> dict:
    """What came in."""
    return payload


def says() -> None:
    """Writes a line."""
    import structlog

    structlog.get_logger().info("said", token="hunter2")

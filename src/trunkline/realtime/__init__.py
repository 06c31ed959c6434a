"""Tells people: committed moves of jobs, and what is said about them, to whoever watches. Rooms, history, recovery.

Start reading with `stream` (one reader per process), then `offsets` (why a late commit is never missed), `rooms`, `updates`.
"""

from trunkline.realtime.event import Connected, Event, HistoryEntry, Replayed, TooOld
from trunkline.realtime.presence import Presence
from trunkline.realtime.rooms import ALL_JOBS, CLIENTS, EVERYONE, Rooms, batch_room, inbox_room, job_room, rooms_of, user_room
from trunkline.realtime.stream import Stream
from trunkline.realtime.updates import Updates

__all__ = [
    "ALL_JOBS",
    "CLIENTS",
    "EVERYONE",
    "Connected",
    "Event",
    "HistoryEntry",
    "Presence",
    "Replayed",
    "Rooms",
    "Stream",
    "TooOld",
    "Updates",
    "batch_room",
    "inbox_room",
    "job_room",
    "rooms_of",
    "user_room",
]

"""The messages both ends of a socket share, as typed values; camelCase outside, snake_case inside, translated here only."""

from trunkline.wire.calls import CALLS, Call, decode_call, encode_call, payload_text
from trunkline.wire.following import FOLLOWS, Follow, decode_follow
from trunkline.wire.frames import (
    Handshake,
    Message,
    Unreadable,
    decode_frame,
    decode_handshake,
    encode_error,
    encode_push,
    encode_reply,
    joined,
)
from trunkline.wire.options import job_options
from trunkline.wire.pushes import Push
from trunkline.wire.refusals import CODES, Refusal
from trunkline.wire.text import checked
from trunkline.wire.updates import WATCHES, Watch, decode_watch

__all__ = [
    "CALLS",
    "CODES",
    "FOLLOWS",
    "WATCHES",
    "Call",
    "Follow",
    "Handshake",
    "Message",
    "Push",
    "Refusal",
    "Unreadable",
    "Watch",
    "checked",
    "decode_call",
    "decode_follow",
    "decode_frame",
    "decode_handshake",
    "decode_watch",
    "encode_call",
    "encode_error",
    "encode_push",
    "encode_reply",
    "job_options",
    "joined",
    "payload_text",
]

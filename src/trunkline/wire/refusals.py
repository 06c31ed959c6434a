"""What a refused call answers: a sentence and a stable code. The one table of codes is here.

Always true: each exception of `trunkline.errors` has one code and each code one exception, so both ends of a socket mean the
same; an exception that nobody foresaw is answered as `internal_error` without its text, which may hold secrets.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from trunkline import errors
from trunkline.errors import InternalError, TrunklineError

# Code -> exception, for clients that raise what a server refused; derived, so that no code can be forgotten.
CODES: dict[str, type[TrunklineError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TrunklineError)
}


class Refusal(msgspec.Struct, frozen=True):
    """The answer to a call that was not carried out.

    Attributes:
        error: what happened with the value, then what to do.
        code: one of CODES; never changes its meaning.
        retryable: whether the same call may succeed later, unchanged.
    """

    error: str
    code: str
    retryable: bool = False
    status: Literal["error"] = "error"

    @classmethod
    def of(cls, error: BaseException) -> Refusal:
        """What is answered for an exception."""
        if isinstance(error, TrunklineError):
            return cls(_readable(str(error)), error.code, error.retryable)
        return cls("something broke on our side. Try again; if it repeats, the server's log says what.", InternalError.code, True)

    def raised(self) -> TrunklineError:
        """The same as an exception; a code of a newer server is a plain TrunklineError."""
        return CODES.get(self.code, TrunklineError)(self.error)


def _readable(sentence: str) -> str:
    """Sentences quote what came in: bounded, and without what no encoder takes."""
    return sentence[:1000].encode("utf-8", "replace").decode()

"""Seals payloads, results and checkpoints of encrypted kinds, and opens them again.

A sealed value is JSON text of one fixed form, `{"$encrypted":"v1","token":"..."}`. The token is a Fernet token (AES-128-CBC and
HMAC-SHA256) under a key that is derived for the tenant from one of TRUNKLINE_ENCRYPTION_KEYS (HKDF-SHA256), so it opens in no other
tenant. What it holds says where it belongs: tenant, kind, job and what it is; a token that was copied elsewhere is refused.
Always true: the first key seals, every key opens; nothing here logs a key or a plain value; no message repeats one.
Called by: engine.sealing, engine.runner, engine.context, app, cli.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from trunkline.errors import InvalidSetting, NotReadable
from trunkline.model.payload import decode, encode
from trunkline.model.secret_fields import ENVELOPE
from trunkline.settings import Settings

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

What = Literal["payload", "result", "checkpoint", "connection"]
PAYLOAD, RESULT = 1, 2  # bits of kind.seals
MARK: Final = '{"$encrypted":"v1","token":"'
END: Final = '"}'
TENANTS_KEPT = 1024  # tenants whose derived keys are remembered
MISSING = "TRUNKLINE_ENCRYPTION_KEYS is set and the package cryptography is not installed. Install trunkline[encryption]."


class Vault:
    """The keys of one process."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: Fernet keys as `trunkline keys generate` prints them, at least one.

        Raises:
            InvalidSetting: the package cryptography is missing.
        """
        try:
            import cryptography.fernet  # noqa: F401 - an extra: the sentence is better now than an ImportError in a job
        except ImportError:
            raise InvalidSetting(MISSING) from None
        self._keys = [urlsafe_b64decode(key) for key in keys]
        self._fernets = lru_cache(TENANTS_KEPT)(self._derived)

    @classmethod
    def of(cls, settings: Settings) -> Vault | None:
        """The vault of these settings; None where no key is set."""
        return cls(settings.keys) if settings.keys else None

    def __len__(self) -> int:
        return len(self._keys)

    def seal(self, tenant_id: int, kind: str, job_id: UUID | None, what: What, text: str) -> str:
        """JSON text in, sealed JSON text out, about a third longer. `job_id` None: it opens in any job of this kind."""
        label = encode({"t": tenant_id, "k": kind, "j": None if job_id is None else str(job_id), "w": what})
        return self._sealed(tenant_id, f"{label}\n{text}".encode())

    def open(self, tenant_id: int, kind: str, job_ids: Sequence[UUID], what: What, sealed: str) -> str:
        """The JSON text that was sealed for one of these jobs (its own id, and the one it is a dead-letter copy of).

        Raises:
            NotReadable: no key of ours made it, it was changed, or it was made for another tenant, kind, job or use.
        """
        content, _ = self._opened(tenant_id, sealed)
        label, _, text = content.decode().partition("\n")
        made_for: dict[str, Any] = decode(label)
        belongs = {"t": tenant_id, "k": kind, "w": what}
        wrong = [name for name, value in belongs.items() if made_for.get(name) != value]
        if made_for["j"] is not None and made_for["j"] not in map(str, job_ids):
            wrong.append("j")
        if wrong:
            words = {"t": "another tenant", "k": f"the kind {made_for['k']!r}", "w": f"a {made_for['w']}", "j": f"job {made_for['j']}"}
            raise NotReadable(
                f"this encrypted {what} was made for {' and '.join(words[name] for name in wrong)}, and stands in a {what} of {kind!r}: "
                "it was copied there. Enqueue the job again.",
                for_good=True,
            )
        return text

    def position(self, tenant_id: int, sealed: str) -> int:
        """Which key opens it, from 1. NotReadable: none does."""
        return self._opened(tenant_id, sealed)[1]

    def resealed(self, tenant_id: int, sealed: str) -> str | None:
        """The same under the first key; None: it is already. NotReadable: no key opens it."""
        content, position = self._opened(tenant_id, sealed)
        return None if position == 1 else self._sealed(tenant_id, content)

    def _sealed(self, tenant_id: int, content: bytes) -> str:
        return f"{MARK}{self._fernets(tenant_id)[0].encrypt(content).decode()}{END}"

    def _opened(self, tenant_id: int, sealed: str) -> tuple[bytes, int]:
        from cryptography.fernet import InvalidToken

        token = sealed.removeprefix(MARK).removesuffix(END).encode()
        for position, fernet in enumerate(self._fernets(tenant_id), 1):
            try:
                return fernet.decrypt(token), position
            except InvalidToken:
                continue
        raise NotReadable(
            f"none of the {len(self)} keys in TRUNKLINE_ENCRYPTION_KEYS opens this value in this tenant: it was made with another key, or was "
            "changed or copied. Put the key that made it at the end of the list."
        )

    def _derived(self, tenant_id: int) -> tuple[Fernet, ...]:
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = f"trunkline v1 tenant {tenant_id}".encode()
        return tuple(Fernet(urlsafe_b64encode(HKDF(SHA256(), 32, None, info).derive(key))) for key in self._keys)


def is_sealed(text: str | None) -> bool:
    """Whether this JSON text has the form of a sealed value, as stored."""
    return text is not None and text.startswith(MARK) and text.endswith(END)


def sealed_text(value: Any) -> str | None:
    """The text of a sealed value that was read as JSON; None: it is none."""
    if isinstance(value, dict) and len(value) == 2 and ENVELOPE in value and isinstance(value.get("token"), str):
        return f"{MARK}{value['token']}{END}"
    return None


def no_key(what: str, kind: str) -> NotReadable:
    """The error of a process that does not hold the key."""
    return NotReadable(
        f"the {what} of {kind!r} is encrypted and no key of this process opens it. Set TRUNKLINE_ENCRYPTION_KEYS to those that made it."
    )

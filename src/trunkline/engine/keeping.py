"""Payloads that are kept before there is a job: of templates, schedules and callbacks of batches. Those of an encrypted kind are sealed.

They are sealed for any job of their kind, because nobody knows yet which jobs will come of them.
Always true: what is kept of an encrypted kind is sealed or refused; what was kept and says the same keeps its text, so that saving it
again changes nothing.
Called by: engine.schedules, engine.templates, engine.batches, engine.privacy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from trunkline.engine.reach import Reach
from trunkline.engine.vault import PAYLOAD, Vault, is_sealed, sealed_text
from trunkline.errors import InvalidPayload, MustEncrypt, NotReadable
from trunkline.model.payload import JsonText
from trunkline.model.secret_fields import ENVELOPE
from trunkline.store import Store, privacy
from trunkline.store.bound import Bound

T = TypeVar("T")


async def kept(
    app: Reach, tenant_id: int, kind: str, text: str | None, write: Callable[[str | None], Awaitable[T]], *, before: Any = None
) -> T:
    """What `write` answers, given the payload as it may be stored. `before`: what is kept now, as it is read.

    Raises:
        MustEncrypt: the kind is encrypted and this process has no key.
    """
    store = await app.open()
    if isinstance(store, Bound):  # a refusal would break the transaction: the database is asked first
        app.sealing.learn(tenant_id, await privacy.sealed_kinds(store, tenant_id, [kind]))
    if not await _is_known(app, store, tenant_id, kind):
        try:
            return await write(text)
        except MustEncrypt:
            if not app.sealing.learn(tenant_id, await privacy.sealed_kinds(store, tenant_id, [kind])):
                raise
    return await write(sealed(app.sealing.vault, tenant_id, kind, "{}" if text is None else text, before))


async def _is_known(app: Reach, store: Store, tenant_id: int, kind: str) -> bool:
    """Whether this process knows that the kind is encrypted; one that its code declares so is told to the database before it is used."""
    sealing = app.sealing
    if (tenant_id, kind) in sealing.learned:
        return True
    if kind not in sealing.anywhere:
        return False
    await privacy.seal_kind(store, tenant_id, kind, PAYLOAD)
    sealing.learn(tenant_id, {kind})
    return True


Callbacks = tuple[str | None, str | None]


async def callbacks(app: Reach, tenant_id: int, given: Callbacks) -> Callbacks:
    """The on_success and on_complete of a batch (JSON text, see engine.batches.callback) as they may be stored. The database is asked."""
    kinds = [None if spec is None else str(msgspec.json.decode(spec)["kind"]) for spec in given]
    named = sorted({kind for kind in kinds if kind is not None})
    if not named:
        return given
    found = await privacy.sealed_kinds(await app.open(), tenant_id, named) | app.sealing.anywhere
    vault = app.sealing.vault
    one, other = (
        spec if spec is None or kind not in found else _sealed_callback(vault, tenant_id, spec)
        for spec, kind in zip(given, kinds, strict=True)
    )
    return one, other


def _sealed_callback(vault: Vault | None, tenant_id: int, spec: str) -> str:
    fields = msgspec.json.decode(spec.encode(), type=dict[str, msgspec.Raw])
    text = sealed(vault, tenant_id, msgspec.json.decode(fields["kind"]), bytes(fields["payload"]).decode())
    return msgspec.json.encode(fields | {"payload": msgspec.Raw(text.encode())}).decode()


async def is_encrypted(app: Reach, tenant: str | None, kind: str) -> bool:
    """Whether payloads of this kind are encrypted: this process says so, or the database does."""
    if kind in app.sealing.anywhere:
        return True
    return bool(await privacy.sealed_kinds(await app.open(), await app.tenant_id(tenant), [kind]))


def sealed(vault: Vault | None, tenant_id: int, kind: str, text: str, before: Any = None) -> str:
    """The payload sealed for any job of the kind: as it is kept already, where that says the same."""
    if is_sealed(text):
        if vault is not None:
            vault.open(tenant_id, kind, [], "payload", text)
        return text
    if vault is None:
        raise MustEncrypt(
            f"kind {kind!r} is encrypted and this process has no key. Set TRUNKLINE_ENCRYPTION_KEYS to the keys that its workers have."
        )
    kept_text = sealed_text(before)
    if kept_text is not None:
        with suppress(NotReadable):
            if vault.open(tenant_id, kind, [], "payload", kept_text) == text:
                return kept_text
    return vault.seal(tenant_id, kind, None, "payload", text)


def opened(vault: Vault | None, tenant_id: int, kind: str, kept_payload: Any) -> JsonText | None:
    """The JSON text of a kept payload that is sealed; None: it is not.

    Raises:
        NotReadable: no key of this process opens it.
    """
    text = sealed_text(kept_payload)
    if text is None:
        return None
    if vault is None:
        raise NotReadable(f"what is kept for {kind!r} is encrypted and this process has no key. Set TRUNKLINE_ENCRYPTION_KEYS.")
    return JsonText(vault.open(tenant_id, kind, [], "payload", text))


def merged(under: str, over: str) -> JsonText:
    """Two objects as JSON text, merged field by field, `over` wins; anything else replaces. As SQL's merged_payload."""
    try:
        both = [msgspec.json.decode(text.encode(), type=dict[str, msgspec.Raw]) for text in (under, over)]
    except msgspec.ValidationError:
        return JsonText(over)
    except msgspec.DecodeError as error:
        raise InvalidPayload(f"payload is not JSON: {error}.") from None
    return JsonText(msgspec.json.encode(both[0] | both[1]).decode())


def concealed(payload: Any) -> Any:
    """What people are shown of a kept payload: {"$encrypted": "v1"} in the place of one that is sealed."""
    return payload if sealed_text(payload) is None else {ENVELOPE: "v1"}

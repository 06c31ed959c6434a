"""Field names that look like secrets, refused in plain payloads; and the one name that is kept for encrypted ones.

A name looks like a secret when the whole of it, without case and without the characters `_ - .` and space, is on the list:
`api_key`, `apiKey` and `API-KEY` are `apikey`. A part of a name never counts: `token_count` and `max_tokens` are harmless.
Always true: a name that was once found harmless is found so by one look into a set, so that payloads of a shape that came
before cost no more than that; values are never looked at.
The same list and rule stand in sql/functions/38_privacy.sql for producers that speak SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trunkline.errors import InvalidPayload, SecretInPayload

DEFAULT = (
    "password,passwd,pwd,passphrase,userpassword,dbpassword,databasepassword,smtppassword,secret,clientsecret,secretkey,apisecret,"
    "appsecret,sharedsecret,webhooksecret,jwtsecret,token,accesstoken,refreshtoken,authtoken,bearertoken,sessiontoken,apitoken,"
    "bottoken,apikey,xapikey,privatekey,accesskey,secretaccesskey,awssecretaccesskey,accesskeysecret,encryptionkey,signingkey,"
    "sshkey,authorization,credential,credentials"
)
ENVELOPE = "$encrypted"
MOST_NAMES = 10_000  # harmless names remembered; further ones are looked at each time
LONGEST_NAME = 100
_WITHOUT = str.maketrans("", "", "_-. ")


class Envelope(dict[str, str]):
    """An encrypted payload, as `app.privacy.seal` makes it; the only mapping that may have the field `$encrypted`."""


class SecretFields:
    """A list of names. `harmless`: names seen that are not on it; `clears(mapping)`: whether it has no others."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(bare(name) for name in names)
        self.harmless: set[str] = set()
        self.clears = self.harmless.issuperset  # bound once: it is asked for every mapping of every payload

    @classmethod
    def of(cls, text: str) -> SecretFields:
        """From a setting: `off`, or a comma list in which `default` stands for the built-in list."""
        if text.strip().lower() == "off":
            return cls(())
        return cls(name for name in text.replace("default", DEFAULT).split(",") if name.strip())

    def look(self, value: Mapping[Any, Any], what: str, depth: int) -> None:
        """Refuse a mapping with such a field, remember the names otherwise.

        Raises:
            SecretInPayload: names the field, nothing else: `refusal` says the sentence. InvalidPayload: it looks like an encrypted payload and is none.
        """
        if depth == 1 and ENVELOPE in value:
            raise InvalidPayload(f"{what} has a field {ENVELOPE!r}, which is kept for encrypted payloads. Give the field another name.")
        for name in value:
            if name.__class__ is str and name != ENVELOPE:
                if bare(name) in self.names:
                    raise SecretInPayload(name)
                if len(self.harmless) < MOST_NAMES and len(name) <= LONGEST_NAME:
                    self.harmless.add(name)

    def refusal(self, value: Any, what: str) -> SecretInPayload:
        """The error for a value (plain dicts and lists) in which `look` found a field."""
        return SecretInPayload(
            f"{self.path(value, what) or what} looks like a secret, and payloads are stored as they are sent. Encrypt the kind (encrypt=True), "
            "send a reference to where the secret is kept, or pass allow_secrets=True."
        )

    def path(self, value: Any, at: str) -> str | None:
        """Where the first such field stands, such as `payload.smtp.password` or `payload.users[3].token`."""
        if isinstance(value, Mapping):
            for name, item in value.items():
                if bare(str(name)) in self.names:
                    return f"{at}.{name}"
                if (found := self.path(item, f"{at}.{name}")) is not None:
                    return found
        elif isinstance(value, (list, tuple)):
            for n, item in enumerate(value):
                if (found := self.path(item, f"{at}[{n}]")) is not None:
                    return found
        return None


def bare(name: str) -> str:
    """A name without case and without `_ - .` and space."""
    return name.strip().lower().translate(_WITHOUT)


NO_SECRETS = SecretFields(())  # refuses nothing but what looks encrypted
USUAL = SecretFields.of("default")

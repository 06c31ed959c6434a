"""Public keys and key sets: which key verifies a JWT is ours to say, and no token talks us into another."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from trunkline.auth.jwks import AGAIN_S, FRESH_S, STALE_S, Jwks
from trunkline.auth.keys import Keys
from trunkline.auth.users import Users
from trunkline.errors import InvalidSetting, Unauthenticated
from trunkline.settings import Settings

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ALGORITHMS = {"RS256": RSA, "ES256": EC, "EdDSA": ED}
HEADERS = [serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo]


def pem(key: Any) -> str:
    """The public half."""
    return key.public_key().public_bytes(*HEADERS).decode()


def token(key: Any, algorithm: str, **headers: Any) -> str:
    """A user of tenant customer-001."""
    claims = {"sub": "user-1", "exp": int(time.time()) + 600, "tenant": "customer-001"}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers or None)


def jwk(key: Any, algorithm: str, kid: str | None, **more: Any) -> dict[str, Any]:
    """A public key as a key set has it."""
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, **({} if kid is None else {"kid": kid}), **more}


class Provider:
    """A key set, and how often it was asked for; the clock of whoever asks."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys, self.asked, self.now, self.is_down = list(keys), 0, 1000.0, False

    def get(self, url: str) -> bytes:
        self.asked += 1
        if self.is_down:
            raise OSError("no answer")
        return json.dumps({"keys": self.keys}).encode()

    def users(self, store: Any) -> Users:
        """Who reads it."""
        settings = Settings.load({}, jwt_jwks_url="https://issuer.example/keys")
        return Users(store, settings, keys=Keys(settings, Jwks("https://issuer.example/keys", get=self.get, clock=lambda: self.now)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_public_key_verifies_by_its_own_algorithm(store, algorithm):
    """RSA, P-256 and Ed25519; the PEM may come with written-out line ends."""
    key = ALGORITHMS[algorithm]
    for text in (pem(key), pem(key).replace("\n", "\\n")):
        users = Users(store, Settings.load({"TRUNKLINE_JWT_PUBLIC_KEY": text}))

        assert "user-1" == (await users.principal(token(key, algorithm))).user_id


def forged(algorithm: str, secret: bytes, **headers: Any) -> str:
    """Signed by hand: libraries refuse to use a public key as a secret."""
    head = {"alg": algorithm, "typ": "JWT", **headers}
    claims = {"sub": "user-1", "exp": int(time.time()) + 600, "tenant": "customer-001"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
    seal = hmac.new(secret, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(seal).rstrip(b"=")]).decode()


async def test_a_public_key_is_not_taken_as_a_secret():
    """Key confusion, with the PEM, its DER and the key set's own text as the secret; and no algorithm at all."""
    users = Users(None, Settings.load({"TRUNKLINE_JWT_PUBLIC_KEY": pem(RSA)}))
    der = RSA.public_key().public_bytes(serialization.Encoding.DER, HEADERS[1])
    another = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    bad = [forged("HS256", secret) for secret in (pem(RSA).encode(), pem(RSA).strip().encode(), der, b"")]
    bad += [forged("none", b"x"), forged("RS256", pem(RSA).encode()), token(another, "RS256"), token(EC, "ES256")]
    bad += [token(another, "RS256", jku="https://evil.example/keys", jwk=jwk(another, "RS256", "a"), x5u="https://evil.example/x")]

    for one in bad:
        with pytest.raises(Unauthenticated, match=r"^Invalid authentication token$"):
            await users.principal(one)


@pytest.mark.parametrize(
    "given",
    [
        {"JWT_PUBLIC_KEY": "nonsense"},
        {"JWT_PUBLIC_KEY": pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))},
        {"JWT_PUBLIC_KEY": pem(ec.generate_private_key(ec.SECP384R1()))},
    ],
    ids=["no key", "a short key", "another curve"],
)
def test_a_key_that_cannot_be_used_stops_the_start(given):
    """In a sentence that names the variable and not the value."""
    with pytest.raises(InvalidSetting, match="TRUNKLINE_JWT_PUBLIC_KEY"):
        Keys(Settings.load({f"TRUNKLINE_{name}": value for name, value in given.items()}))


@pytest.mark.parametrize(
    "given",
    [
        {"JWT_SECRET": "s" * 40, "JWT_PUBLIC_KEY": pem(RSA)},
        {"JWT_JWKS_URL": "http://issuer.example/keys"},
        {"JWT_JWKS_URL": "file:///etc/passwd"},
        {"JWT_JWKS_URL": "https://"},
        {"JWT_JWKS_URL": "http://127.0.0.1.evil.example/"},
    ],
    ids=["two of them", "plain http", "a file", "no host", "a name that begins like loopback"],
)
def test_settings_that_cannot_be_safe_are_refused(given):
    """Keys that came over the open network could be anybody's."""
    with pytest.raises(InvalidSetting, match="TRUNKLINE_JWT"):
        Settings.load({f"TRUNKLINE_{name}": value for name, value in given.items()})


async def test_a_key_set_is_asked_once_and_its_keys_are_found_by_id(store):
    """Each with its own algorithm; a set of one key needs no id."""
    provider = Provider(*(jwk(key, algorithm, algorithm) for algorithm, key in ALGORITHMS.items()))
    users = provider.users(store)
    found = [await users.principal(token(key, algorithm, kid=algorithm)) for algorithm, key in ALGORITHMS.items()]
    with pytest.raises(Unauthenticated):  # which of the three?
        await users.principal(token(RSA, "RS256"))
    alone = Provider(jwk(RSA, "RS256", None)).users(store)

    assert ["user-1"] * 3 == [one.user_id for one in found] and 1 == provider.asked
    assert "user-1" == (await alone.principal(token(RSA, "RS256"))).user_id


async def test_keys_rotate(store):
    """A new id is looked for at once; a key that is gone from the set is good for FRESH_S at the most."""
    provider = Provider(jwk(RSA, "RS256", "old"))
    users = provider.users(store)
    await users.principal(token(RSA, "RS256", kid="old"))
    provider.keys = [jwk(EC, "ES256", "new")]
    provider.now += AGAIN_S + 1
    await users.principal(token(EC, "ES256", kid="new"))

    assert 2 == provider.asked
    with pytest.raises(Unauthenticated):
        await users.principal(token(RSA, "RS256", kid="old"))


async def test_a_flood_of_unknown_ids_asks_the_provider_once(store):
    """In AGAIN_S, whatever comes; and tokens of known keys are not kept waiting."""
    provider = Provider(jwk(RSA, "RS256", "a"))
    users = provider.users(store)
    await users.principal(token(RSA, "RS256", kid="a"))
    provider.now += AGAIN_S + 1
    strange = [
        token(RSA, "RS256", kid=kid) for kid in ("b", "../../etc/passwd", "a' or '1'='1", "a\x00", "k" * 501, "https://evil/", "x") * 10
    ]
    answers = await asyncio.gather(*(users.principal(one) for one in strange), return_exceptions=True)

    assert 2 == provider.asked and {Unauthenticated} == {type(one) for one in answers}
    assert "user-1" == (await users.principal(token(RSA, "RS256", kid="a"))).user_id


async def test_a_provider_that_is_down_does_not_lock_everybody_out(store):
    """Its keys are used on for an hour, and no longer."""
    provider = Provider(jwk(RSA, "RS256", "a"))
    users = provider.users(store)
    good = token(RSA, "RS256", kid="a")
    await users.principal(good)
    provider.is_down, provider.now = True, provider.now + FRESH_S + 1
    assert "user-1" == (await users.principal(good)).user_id
    provider.now += STALE_S

    with pytest.raises(Unauthenticated):
        await users.principal(good)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_key_set_with_strange_entries_gives_only_the_good_ones(store):
    """Symmetric keys, keys for encryption, of another algorithm, too short, or no keys at all."""
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    strange = [
        {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "oct"},
        jwk(RSA, "RS256", "enc", use="enc"),
        jwk(RSA, "RS256", "alg", alg="HS256"),
        jwk(short, "RS256", "short"),
        {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "broken"},
        "text",
        None,
        {},
    ]
    users = Provider(*strange, jwk(EC, "ES256", "good")).users(store)  # type: ignore[arg-type]
    bad = [
        forged("HS256", b"s" * 32, kid="oct"),
        *(token(RSA, "RS256", kid=kid) for kid in ("enc", "alg", "broken")),
        token(short, "RS256", kid="short"),
    ]

    assert "user-1" == (await users.principal(token(EC, "ES256", kid="good"))).user_id
    for one in bad:
        with pytest.raises(Unauthenticated):
            await users.principal(one)


class Handler(BaseHTTPRequestHandler):
    """Answers what `answers` says of a path."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        status, headers, body = self.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


async def test_a_key_set_comes_over_real_http(store):
    """Redirects are not followed, and no more is read than a key set has."""
    good = json.dumps({"keys": [jwk(RSA, "RS256", "a")]}).encode()
    Handler.answers = {
        "/keys": (200, {}, good),
        "/moved": (302, {"Location": "/keys"}, b""),
        "/endless": (200, {}, b" " * 300_000 + good),
        "/list": (200, {}, b"[]"),
        "/deep": (200, {}, b"[" * 100_000),
    }
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        known = {}
        for path in Handler.answers:
            settings = Settings.load({}, jwt_jwks_url=f"http://127.0.0.1:{server.server_port}{path}")
            try:
                known[path] = (await Users(store, settings).principal(token(RSA, "RS256", kid="a"))).user_id
            except Unauthenticated:
                known[path] = None
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert {"/keys": "user-1", "/moved": None, "/endless": None, "/list": None, "/deep": None} == known

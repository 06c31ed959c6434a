"""Users' JWTs: only those that are wholly good, and every other in the same words."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.auth.conftest import SECRET
from trunkline.auth.users import Users
from trunkline.errors import Forbidden, InvalidSetting, Unauthenticated
from trunkline.settings import Settings


@pytest.fixture
def users(store, settings) -> Users:
    """Audience and issuer are set."""
    return Users(store, settings)


async def test_a_good_token_is_a_user_of_its_tenant(users: Users, tenant, signed):
    """With the rights of a user: no work, no administration."""
    principal = await users.principal(signed())

    assert (tenant, "customer-001", "user-1", None) == (principal.tenant_id, principal.tenant, principal.user_id, principal.token_id)
    assert {"send", "watch"} == principal.scopes and principal.expires_at is not None


def unsigned(claims: dict) -> str:
    """alg=none."""
    parts = [json.dumps({"alg": "none", "typ": "JWT"}).encode(), json.dumps(claims).encode()]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def headed(header: dict, claims: Any, key: str = "") -> str:
    """Any header over any claims, with the signature that HS256 makes by this key; bytes are taken as they are."""
    texts = [json.dumps(header).encode(), claims if isinstance(claims, bytes) else json.dumps(claims).encode()]
    said = b".".join(base64.urlsafe_b64encode(text).rstrip(b"=") for text in texts)
    seal = hmac.new(key.encode(), said, hashlib.sha256).digest()
    return f"{said.decode()}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"


def rsa_signed(claims: dict) -> str:
    """RS256 by a key of the attacker's."""
    return jwt.encode(claims, rsa.generate_private_key(public_exponent=65537, key_size=2048), algorithm="RS256")


GOOD = {"sub": "user-1", "exp": 2**33, "aud": "app", "iss": "https://issuer", "tenant": "customer-001"}
BAD = {
    "another secret": lambda sign: sign(key="b" * 40),
    "another algorithm": lambda sign: sign(algorithm="HS512"),
    "alg none": lambda sign: unsigned(GOOD),
    "an asymmetric algorithm": lambda sign: rsa_signed(GOOD),
    "expired": lambda sign: sign(exp=int(time.time()) - 60),
    "no exp": lambda sign: sign(exp=None),
    "an exp that is no number": lambda sign: sign(exp="soon"),
    "no sub": lambda sign: sign(sub=None),
    "an empty sub": lambda sign: sign(sub=""),
    "a NUL in sub": lambda sign: sign(sub="a\x00"),
    "half a character in sub": lambda sign: sign(sub="a\ud800"),
    "another audience": lambda sign: sign(aud="another"),
    "no audience": lambda sign: sign(aud=None),
    "another issuer": lambda sign: sign(iss="https://evil"),
    "no issuer": lambda sign: sign(iss=None),
    "not yet": lambda sign: sign(nbf=int(time.time()) + 600),
    "100 KB": lambda sign: sign(more="x" * 100_000),
    "no token": lambda sign: "a.b.c",
    "empty": lambda sign: "",
    "a list": lambda sign: ["a"],
    "nothing": lambda sign: None,
    "bytes beyond ASCII": lambda sign: "é.ü.ß",
    "a changed claim": lambda sign: sign()[:-2] + "xx",
    "alg none in another spelling": lambda sign: headed({"alg": "nOnE", "typ": "JWT"}, GOOD),
    "no alg": lambda sign: headed({"typ": "JWT"}, GOOD),
    "an alg that is a list": lambda sign: headed({"alg": ["HS256"]}, GOOD),
    "a key that it brings": lambda sign: jwt.encode(
        GOOD, "b" * 40, headers={"jwk": {"kty": "oct", "k": "YmJi"}, "jku": "https://evil/keys"}
    ),
    "a key id that is a path": lambda sign: headed({"alg": "HS256", "kid": "../../../dev/null"}, GOOD),
    "an extension that must be understood": lambda sign: jwt.encode(GOOD, SECRET, headers={"crit": ["x-unknown"], "x-unknown": 1}),
    "an exp that is infinite": lambda sign: sign(exp=float("inf")),
    "an exp that is no number at all": lambda sign: sign(exp=float("nan")),
    "claims that are a list": lambda sign: headed({"alg": "HS256"}, [GOOD], SECRET),
    "claims that nest 3,000 deep": lambda sign: headed({"alg": "HS256"}, b"[" * 3000 + b"]" * 3000, SECRET),
    "a sub that is a number": lambda sign: headed({"alg": "HS256"}, {**GOOD, "sub": 1}, SECRET),
    "a sub that is a list": lambda sign: headed({"alg": "HS256"}, {**GOOD, "sub": ["user-1"]}, SECRET),
    "a sub of 501 characters": lambda sign: sign(sub="u" * 501),
    "a lone surrogate in sub": lambda sign: sign(sub="a\ud800"),
    "four parts": lambda sign: sign() + ".x",
    "blanks around": lambda sign: f" {sign()}",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_whatever_is_wrong_reads_the_same(settings, signed, bad):
    """And is never an error of ours; the database is not even asked."""
    with pytest.raises(Unauthenticated, match=r"^Invalid authentication token$"):
        await Users(None, settings).principal(bad(signed))


def test_a_public_key_is_no_shared_secret():
    """Whoever knows the public key must not be able to sign with it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    with pytest.raises(InvalidSetting, match="PEM key"):
        Settings.load({"TRUNKLINE_JWT_SECRET": pem})


async def test_without_a_secret_no_token_is_good(signed):
    """Not even one signed with nothing."""
    with pytest.raises(Unauthenticated):
        await Users(None, Settings.load({})).principal(signed())


async def test_a_token_for_another_audience_is_refused_where_none_is_set(store, signed):
    """It was made for somebody else."""
    users = Users(store, Settings.load({}, jwt_secret=SECRET))
    with pytest.raises(Unauthenticated):
        await users.principal(signed())

    assert "user-1" == (await users.principal(signed(aud=None))).user_id


async def test_a_user_without_a_tenant_belongs_to_the_default_or_to_none(store, settings, signed):
    """A claim that can name no tenant is no claim to one."""
    users = Users(store, settings)
    with pytest.raises(Forbidden, match="belongs to no tenant"):
        await users.principal(signed(tenant=None))
    for strange in ("../x", "", 5, ["customer-001"], {"a": 1}):
        with pytest.raises(Forbidden, match="belongs to no tenant"):
            await users.principal(signed(tenant=strange))
    with_default = Users(store, settings.model_copy(update={"jwt_default_tenant": "everybody"}))

    assert ["everybody", "customer-001"] == [(await with_default.principal(token)).tenant for token in (signed(tenant=None), signed())]


async def test_an_administrator_says_so_in_the_claim_that_was_agreed(store, settings, signed):
    """And in no other."""
    cases = [
        (None, {}, False),
        (None, {"scope": "openid admin"}, True),
        (None, {"scope": "administrator"}, False),
        (None, {"scope": ["admin"]}, True),
        (None, {"admin": True}, False),
        ("admin", {"admin": True}, True),
        ("admin", {"admin": "false"}, False),
        ("admin", {"admin": 1}, False),
        ("roles=owner", {"roles": ["user", "owner"]}, True),
        ("roles=owner", {"roles": "owner"}, True),
        ("roles=owner", {"roles": "co-owner"}, False),
    ]
    for claim, said, is_admin in cases:
        users = Users(store, settings.model_copy(update={"jwt_admin_claim": claim}))

        assert is_admin == (await users.principal(signed(**said))).is_admin, (claim, said)


def test_a_secret_is_long_and_never_shown():
    """Neither in the sentence that refuses it nor in the settings' text."""
    with pytest.raises(InvalidSetting) as refused:
        Settings.load({"TRUNKLINE_JWT_SECRET": "too-short-secret"})

    assert "TRUNKLINE_JWT_SECRET is ***" in str(refused.value) and "too-short" not in str(refused.value)
    assert SECRET not in repr(Settings.load({}, jwt_secret=SECRET))

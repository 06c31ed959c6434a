"""A crowd of tenants, users and tokens that ask for anything over every door, and a model that says what each may be answered and told."""

from __future__ import annotations

import json
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from websockets.asyncio.client import connect

from tests.gateway.bare import Bare
from tests.gateway.conftest import Client
from trunkline import Trunkline
from trunkline.auth import Tokens
from trunkline.model.job import new_id

SECRET = "s" * 40
TENANTS = ("acme", "acme2", "Acme")  # look-alikes
USERS = ("ann", "bob", "all-jobs", "everyone", "job:1", "ann~")
NAMES = ("resize", "re_size", "re-size", "acme2/resize", "all-jobs", "*", "mail")
SCOPES = ("send", "work", "watch", "admin")
NEEDS = {"send_job": ("send",), "cancel_job": ("send",), "get_job": ("send", "watch"), "get_queue_size": ("send", "watch")}
STRANGE = (
    ["all-jobs"], {"jobId": ["x"]}, {"jobId": {"a": 1}}, {"jobId": "all-jobs"}, {"jobId": "everyone"}, {"userId": ["ann"]}, {"userId": {"$ne": 1}},
    {"userId": ""}, {"userId": "ann\u0000"}, {"room": "everyone"}, {"jobId": None, "userId": "x" * 501}, "everyone", 7, None,
)  # fmt: skip
MARK = re.compile(r"of<([^:<>]*):([^<>]*)>")


def mark(tenant: str, user: str | None) -> str:
    """What is written into everything that belongs to somebody."""
    return f"of<{tenant}:{user or ''}>"


@dataclass
class World:
    """What there is. `owners`: job -> tenant -> its user there."""

    app: Trunkline
    port: int
    chance: random.Random
    owners: dict[str, dict[str, str | None]] = field(default_factory=dict)
    offsets: list[tuple[str, str]] = field(default_factory=list)
    client_ids: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def any_id(self) -> str:
        """Mostly one that exists somewhere; sometimes in other letters, or none."""
        known = list(self.owners)
        if not known or self.chance.random() < 0.1:
            return str(new_id())
        picked = self.chance.choice(known[-40:])
        return picked.upper() if self.chance.random() < 0.05 else picked

    def hold(self, who: str, condition: object, *what: object) -> None:
        """Note what must not be."""
        if not condition:
            self.wrong.append(f"{who}: " + " ".join(str(each)[:300] for each in what))


class Actor:
    """Somebody with one open socket."""

    def __init__(self, world: World, n: int, tenant: str) -> None:
        self.world, self.tenant, self.name = world, tenant, f"{n}@{tenant}"
        self.user: str | None = None
        self.heard: list[str] = []  # of sockets that are gone

    def may_hear(self, tenant: str, user: str) -> bool:
        """Whether something that belongs to them is for this one."""
        return tenant == self.tenant

    def judge(self) -> None:
        """Nothing that was ever heard here is somebody else's."""
        for text in (*self.heard, *self.texts()):
            for tenant, user in MARK.findall(text):
                self.world.hold(self.name, self.may_hear(tenant, user), "heard", text)

    def texts(self) -> list[str]:
        """What this socket heard."""
        raise NotImplementedError

    async def step(self) -> None:
        """Do something."""
        raise NotImplementedError


class Program(Actor):
    """A token on `/ws` or `/ws/raw`."""

    async def come(self, resume: str | None = None) -> None:
        if not hasattr(self, "token"):
            self.scopes = tuple(self.world.chance.sample(SCOPES, self.world.chance.randint(1, 3)))
            self.is_raw = self.world.chance.random() < 0.5
            tokens = Tokens(self.world.app.store)
            _, self.token = await tokens.create(await self.world.app.tenant_id(self.tenant), scopes=self.scopes)
            self.requested: set[str] = set()
        if self.is_raw:
            url = f"ws://127.0.0.1:{self.world.port}/ws/raw" + (f"?resume={resume}" if resume else "")
            self.client = Client(await connect(url, additional_headers={"Authorization": f"Bearer {self.token}"}, compression=None))
            (ready,) = await self.client.pushed("client_ready")
        else:
            self.bare = await Bare.open(self.world.port, {"customerToken": self.token, **({"resume": resume} if resume else {})})
            (ready,) = await self.bare.until("client_ready")
        self.world.hold(self.name, ready["customerId"] == self.tenant, ready)
        self.world.client_ids.append(ready["id"])

    def texts(self) -> list[str]:
        self.requested |= {push["id"] for push in self._said("work_request")}
        if self.is_raw:
            return [json.dumps(data) for data in self.client.pushes.values()]
        return [json.dumps(each) for each in self.bare.heard]

    def _said(self, event: str) -> list[Any]:
        return self.client.pushes.get(event, []) if self.is_raw else self.bare.said(event)

    async def close(self) -> None:
        await (self.client if self.is_raw else self.bare).close()

    def may(self, *scopes: str) -> bool:
        return "admin" in self.scopes or any(scope in self.scopes for scope in scopes)

    async def step(self) -> None:
        chance = self.world.chance
        if chance.random() < 0.04:
            self.heard += self.texts()
            (self.client if self.is_raw else self.bare).kill()
            await self.come(chance.choice([None, *self.world.client_ids[-20:], "0.x", "999999.secret"]))
            return
        name, data = self._call()
        answer = await (self.client.ask(name, **data) if self.is_raw else self.bare.ask(name, data))
        self.texts()
        self._check(name, data, answer)

    def _call(self) -> tuple[str, dict[str, Any]]:
        chance, mine = self.world.chance, mark(self.tenant, None)
        name = chance.choice(NAMES)
        job = {"jobName": chance.choice(NAMES[:2]), "jobId": self.world.any_id()}
        whose = mark(self.tenant, self.world.owners.get(job["jobId"].lower(), {}).get(self.tenant))  # it may hold that very job
        options: dict[str, Any] = chance.choice(
            [{}, {"idempotencyKey": "k"}, {"singletonKey": "s"}, {"id": job["jobId"]}, {"retryDelay": 0}]
        )
        if "admin" in self.scopes and chance.random() < 0.5:
            options = {**options, "userId": chance.choice(USERS)}
        return chance.choice(
            [
                ("send_job", {"name": name, "data": {"x": mark(self.tenant, options.get("userId"))}, "options": options}),
                ("send_job", {"name": "resize", "data": {"x": mine}, "options": {}}),
                ("register_worker", {"jobName": name, "options": {"teamSize": chance.randint(1, 4)}}),
                ("get_job", job),
                ("cancel_job", job),
                ("get_queue_size", {"jobName": name}),
                ("job_started", job),
                ("job_progress", {**job, "progress": 5, "message": whose}),
                ("job_completed", {**job, "result": whose}),
                ("job_failed", {**job, "error": whose, "retryable": chance.random() < 0.5}),
            ]
        )

    def _check(self, name: str, data: dict[str, Any], answer: dict[str, Any]) -> None:
        world, is_ok, job_id = self.world, answer["status"] == "ok", str(data.get("jobId", "")).lower()
        world.hold(self.name, answer.get("code") != "internal_error", name, data, answer)
        world.hold(self.name, self.may(*NEEDS.get(name, ("work",))) or answer.get("code") == "forbidden", name, data, answer)
        for tenant, user in MARK.findall(json.dumps(answer)):
            world.hold(self.name, self.may_hear(tenant, user), name, data, answer)
        if name == "send_job" and is_ok and answer["jobId"]:
            owned = world.owners.setdefault(answer["jobId"], {})
            owned.setdefault(self.tenant, data["options"].get("userId"))
        elif is_ok and (answer.get("job") or name == "cancel_job"):
            world.hold(self.name, self.tenant in world.owners.get(job_id, {}), name, data, answer)
        elif is_ok and name.startswith("job_"):
            world.hold(self.name, job_id in self.requested, name, data, answer, "was never given to it")


class Watcher(Actor):
    """A user's JWT, an administrator's, or a token with `watch`, on `/socket.io`."""

    namespace, kinds = "/jobs", ("user", "user", "admin", "machine")

    async def come(self, **more: Any) -> None:
        chance = self.world.chance
        if not hasattr(self, "auth"):
            self.kind = chance.choice(self.kinds)
            self.user = None if self.kind == "machine" else chance.choice(USERS)
            self.rooms: set[str] = set()
            if self.kind == "machine":
                _, plain = await Tokens(self.world.app.store).create(await self.world.app.tenant_id(self.tenant), scopes=("watch",))
                self.auth = {"customerToken": plain}
            else:
                claims = {"sub": self.user, "tenant_id": self.tenant, "exp": int(time.time()) + 900}
                scope = {"scope": "admin"} if self.kind == "admin" else {}
                self.auth = {"token": jwt.encode({**claims, **scope}, SECRET, algorithm="HS256")}
        self.bare = await (
            await Bare.open(self.world.port, {**self.auth, "recovery": True, **more}, path="/socket.io", namespace=self.namespace)
        ).let_in()

    async def close(self) -> None:
        await self.bare.close()

    @property
    def sees_all(self) -> bool:
        return self.kind != "user"

    def may_hear(self, tenant: str, user: str) -> bool:
        return tenant == self.tenant and (self.sees_all or user in (self.user, "everybody"))

    def texts(self) -> list[str]:
        return [json.dumps(each) for each in self.bare.heard]

    def may_follow(self, what: dict[str, Any]) -> bool:
        if (job_id := what.get("jobId")) is not None:
            owners = self.world.owners.get(job_id.lower(), {})
            return self.tenant in owners and (self.sees_all or owners[self.tenant] == self.user)
        return what.get("userId") is None or self.sees_all or what["userId"] == self.user

    def hears(self, job_id: str) -> bool:
        """Whether it is told of a job of its tenant now, once."""
        user = self.world.owners[job_id][self.tenant]
        mine = {f"job:{job_id}", "all-jobs" if self.sees_all or user == self.user else "-"} | ({f"user:{user}"} if user else set())
        return bool(mine & self.rooms)

    def last(self) -> list[str]:
        """The jobs whose last update it heard."""
        return [update["jobId"] for update in self.bare.said("job:update") if update["status"] == "last"]

    async def step(self) -> None:
        chance, bare = self.world.chance, self.bare
        if bare.offset:
            self.world.offsets.append((bare.accepted["pid"] if bare.accepted else "x", bare.offset))
        match chance.randrange(8):
            case 0 | 1 | 2:
                what = chance.choice([{"jobId": self.world.any_id()}, {"userId": chance.choice(USERS)}, {}])
                answer = await bare.ask("subscribe:jobs", what)
                self.world.hold(self.name, answer["success"] == self.may_follow(what), "subscribe", what, answer, self.user, self.kind)
                if answer["success"]:
                    self.rooms.add(answer["room"])
            case 3 if self.rooms:
                room = chance.choice(sorted(self.rooms))
                kind, _, name = room.partition(":")
                assert (await bare.ask("unsubscribe:jobs", {} if room == "all-jobs" else {f"{kind}Id": name}))["success"]
                self.rooms.discard(room)
            case 4:
                strange = chance.choice(STRANGE)
                answer = await bare.ask("subscribe:jobs", strange)
                if answer.get("success"):  # an unknown field is ignored: that is `{}`
                    self.world.hold(self.name, answer["room"] == "all-jobs" and isinstance(strange, dict), strange, answer)
                    self.rooms.add("all-jobs")
            case 5:
                what = {"jobId": self.world.any_id()}
                answer = await bare.ask("history", what)
                self.world.hold(self.name, isinstance(answer, list) == self.may_follow(what), "history", what, answer)
                for tenant, user in MARK.findall(json.dumps(answer)):
                    self.world.hold(self.name, self.may_hear(tenant, user), "history", what, answer)
            case 6 if self.world.offsets:
                await self._recover()
            case _:
                pass

    async def _recover(self) -> None:
        """Come back with its own offset, with somebody's, or with one that was put together."""
        chance, (pid, offset) = self.world.chance, self.world.chance.choice(self.world.offsets[-30:])
        own = self.bare.offset
        match chance.randrange(4):
            case 0 if own:
                offset = own
            case 1 if own:
                offset = own.partition("~")[0] + "~" + offset.partition("~")[2]
            case 2:
                cut = chance.randrange(len(offset))
                offset = offset[:cut] + chance.choice("0~A.") + offset[cut + 1 :]
        self.heard += self.texts()
        self.bare.kill()
        await self.come(pid=pid, offset=offset)
        assert self.bare.accepted is not None
        if self.bare.accepted["pid"] != pid:
            self.rooms = set()
            return
        follows = json.loads(_decoded(offset.partition("~")[2]))
        for room in follows:
            kind, _, name = room.partition(":")
            self.world.hold(self.name, self.may_follow({} if room == "all-jobs" else {f"{kind}Id": name}), "recovered", room)
        self.rooms = set(follows)


class Follower(Watcher):
    """A user's JWT, or an administrator's, on the default namespace of `/socket.io`."""

    namespace, kinds = "/", ("user", "user", "admin")

    async def come(self, **more: Any) -> None:
        await super().come(**more)
        said = await self.bare.until("authenticated")
        self.world.hold(self.name, said == [{"userId": self.user}], said)

    def may_follow(self, what: dict[str, Any]) -> bool:
        return what.get("jobId") is not None and super().may_follow(what)

    def last(self) -> list[str]:
        return [failed["jobId"] for failed in self.bare.said("job:failed") if failed["error"].startswith("last")]

    async def step(self) -> None:
        chance, bare = self.world.chance, self.bare
        if bare.offset:
            self.world.offsets.append((bare.accepted["pid"] if bare.accepted else "x", bare.offset))
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                what = {"jobId": self.world.any_id()}
                answer = await bare.ask("subscribe:job", chance.choice([what, what["jobId"]]))
                self.world.hold(self.name, (answer["status"] == "ok") == self.may_follow(what), what, answer, self.user, self.kind)
                if answer["status"] == "ok":
                    self.rooms.add(f"job:{answer['jobId']}")
                else:
                    self.world.hold(self.name, answer["error"] == "not found", what, answer)
            case 4 if self.rooms:
                room = chance.choice(sorted(self.rooms))
                self.world.hold(self.name, (await bare.ask("unsubscribe:job", room.partition(":")[2]))["status"] == "ok", room)
                self.rooms.discard(room)
            case 5:
                answer = await bare.ask(chance.choice(["subscribe:job", "unsubscribe:job"]), chance.choice(STRANGE))
                self.world.hold(self.name, answer.get("code") in ("invalid_input", "invalid_payload"), answer)
            case 6 if self.world.offsets:
                await self._recover()
            case _:
                answer = await bare.ask("authenticate", {"token": self.auth["token"]})
                self.world.hold(self.name, answer["userId"] == self.user, answer)


def _decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text, altchars=b"-_")

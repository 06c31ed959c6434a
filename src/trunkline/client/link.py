"""The connection to a gateway as the rest of the SDK sees it: calls go out and are answered, however often the socket is lost.

A call keeps its place here until it is answered. When the socket is lost, another one is opened, `resume` names the old one, and
every call that has no answer is sent again, in order; so a call must be one that may be said twice (ids are made here, not there).
Messages of one turn of the event loop travel in one frame.
Always true: at most MOST_CALLS calls, MOST_WAITS long waits and the reports of the jobs held are without an answer, further
callers wait; a token that is refused ends the link for good, and everybody is told; nothing else ends it but `close`.
Called by: client.client, client.working, client.watching.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trunkline.client.backoff import Backoff
from trunkline.client.dialing import Incoming, Token, address, enter, messages_of, refusal, token_now
from trunkline.errors import InvalidInput, InvalidPayload, TrunklineError, Unauthenticated, Unavailable
from trunkline.wire import Call, Refusal, encode_call
from trunkline.wire.answers import ANSWERS, Ok
from trunkline.wire.frames import MAX_MESSAGES
from trunkline.wire.text import MAX_BYTES

MOST_CALLS = 700  # of the 1,000 that a gateway reads of one socket before it lets it wait
MOST_WAITS = 100
FRAME_BYTES = 1024 * 1024
STABLE_S = 5.0  # a connection that lived so long was a good one: the next is tried soon
log = logging.getLogger("trunkline.client")
_answers = {name: msgspec.json.Decoder(each) for name, each in ANSWERS.items()}
_refusal = msgspec.json.Decoder(Refusal)
_sentence = msgspec.json.Decoder(str)


class _Status(msgspec.Struct):
    status: str = ""


_status = msgspec.json.Decoder(_Status)


@dataclass(slots=True, eq=False)
class _Asked:
    call: str
    frame: bytes
    answer: asyncio.Future[Ok]


class Link:
    """One client's way to its gateway. `hears` is given every push; `on_ready` functions run whenever it has come (back)."""

    def __init__(self, url: str, token: Token, *, events: bool, hears: Callable[[str, msgspec.Raw], None]) -> None:
        self.url, self._token, self._events, self._hears = address(url), token, events, hears
        self.on_ready: list[Callable[[], None]] = []
        self.customer_id = ""
        self.clock_off_s = 0.0
        self.connects = 0
        self._resume: str | None = None
        self._ids = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._out: deque[int] = deque()
        self._something = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[TrunklineError] = asyncio.get_running_loop().create_future()
        self._room, self._long_room = asyncio.Semaphore(MOST_CALLS), asyncio.Semaphore(MOST_WAITS)
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------

    async def open(self, within_s: float) -> None:
        """Connect; what is wrong for good is raised at once, what may pass after `within_s`.

        Raises:
            Unauthenticated, InvalidInput, RateLimited, Unavailable: why not.
        """
        self._task = asyncio.create_task(self._run(within_s))
        try:
            await asyncio.shield(self._first)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Say goodbye; calls without an answer fail. Twice is once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._end(Unavailable("the client was closed before the gateway had answered."))

    async def _run(self, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        began, refused, refused_at = loop.time(), "", -1
        while not self.over.done():
            token, at = "", loop.time()
            try:
                token = await token_now(self._token)
                if token == refused:
                    raise Unauthenticated("Invalid authentication token")
                await self._serve(token)
            except Unauthenticated as error:
                if isinstance(self._token, str) or token == refused or refused_at == self.connects:
                    self._end(error)
                refused, refused_at = token, self.connects  # a function may have another one by now: once
            except TrunklineError as error:
                if not self.connects and (isinstance(error, InvalidInput) or loop.time() - began > within_s):
                    self._end(error)
                log.info("connecting again: %s", error)
            except Exception as error:
                log.exception("connecting failed")
                self._end(Unavailable(f"connecting failed: {error!r}"))
            if self.connects and loop.time() - at > STABLE_S:
                self._backoff.reset()
            if not self.over.done():
                await asyncio.sleep(self._backoff.next_s())

    def _end(self, error: TrunklineError) -> None:
        if not self.over.done():
            self.over.set_result(error)
        if not self._first.done():
            self._first.set_exception(error)
            self._first.exception()  # `open` raises it, or nobody asks
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(error)
                asked.answer.exception()
        self._asked.clear()

    async def _serve(self, token: str) -> None:
        """One socket, from its first message to its end."""
        socket, ready, self.clock_off_s = await enter(self.url, token, events=self._events, resume=self._resume)
        writer: asyncio.Task[None] | None = None
        said = ""
        try:
            self._resume, self.customer_id = ready.id, ready.customer_id
            self.connects += 1
            self._ask_again()
            writer = asyncio.create_task(self._write(socket))
            if not self._first.done():
                self._first.set_result(None)
            async for text in socket:
                for message in messages_of(text):
                    if message.type == "error":
                        said = _sentence.decode(message.data)
                    else:
                        self._heard(message)
        except ConnectionClosed:
            pass
        except msgspec.DecodeError as error:
            raise Unavailable(f"the gateway said what cannot be read: {error}") from None
        finally:
            if writer is not None:
                writer.cancel()
            with suppress(Exception):
                await socket.close()
        raise refusal(socket, said)

    def _ask_again(self) -> None:
        """First what the worker has to say (it is here), then every call that has no answer, in its order."""
        unanswered = list(self._asked)
        self._out.clear()
        for said in self.on_ready:
            said()
        self._out.extend(unanswered)
        self._something.set()

    # -- out and in ----------------------------------------------------------------------

    def submit(self, call: Call) -> asyncio.Future[Ok]:
        """Send a call without waiting for room, for reports; the future is its answer, or what the gateway refused.

        Raises:
            InvalidPayload: it is larger than any frame may be.
        """
        number = next(self._ids)
        frame = msgspec.json.encode({"id": number, "type": call.call, "data": encode_call(call)})
        if len(frame) > MAX_BYTES:
            raise InvalidPayload(f"{call.call} has {len(frame)} bytes, at most {MAX_BYTES} are accepted. Send a reference to the data.")
        answer: asyncio.Future[Ok] = asyncio.get_running_loop().create_future()
        if self.over.done():
            answer.set_exception(self.over.result())
            answer.exception()
            return answer
        self._asked[number] = _Asked(call.call, frame, answer)
        answer.add_done_callback(lambda _: self._asked.pop(number, None))
        self._out.append(number)
        self._something.set()
        return answer

    async def begin(self, call: Call) -> asyncio.Future[Ok]:
        """The same once there is room, so that who sends many waits instead of filling the memory."""
        await self._room.acquire()
        try:
            answer = self.submit(call)
        except BaseException:
            self._room.release()
            raise
        answer.add_done_callback(lambda _: self._room.release())
        return answer

    async def ask(self, call: Call, within_s: float, *, is_long: bool = False) -> Any:
        """The answer to a call.

        Raises:
            Unavailable: none came in time; it may have been carried out.
            TrunklineError: what the gateway refused, by its code.
        """
        try:
            async with asyncio.timeout(within_s):
                if not is_long:
                    return await (await self.begin(call))
                async with self._long_room:
                    return await self.submit(call)
        except TimeoutError:
            raise Unavailable(f"{call.call} was not answered within {within_s:g} s; it may have been carried out.") from None

    async def ask_many(self, calls: Sequence[Call], within_s: float) -> list[asyncio.Future[Ok]]:
        """The answers to calls, each done: refused ones raise at `result()`.

        Raises:
            Unavailable: for `within_s` seconds nothing was answered.
        """
        answers: list[asyncio.Future[Ok]] = []
        try:
            for call in calls:
                async with asyncio.timeout(within_s):
                    answers.append(await self.begin(call))
            if answers and (await asyncio.wait(answers, timeout=within_s))[1]:
                raise TimeoutError
        except TimeoutError:
            raise Unavailable(f"{len(calls)} calls were not all answered within {within_s:g} s; they may have been carried out.") from None
        finally:
            for answer in answers:
                answer.cancel()
        return answers

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._something.wait()
                self._something.clear()
                await asyncio.sleep(0)  # whoever runs in this turn of the loop shares the frame
                while frames := self._next():
                    await socket.send(frames[0] if len(frames) == 1 else b"[" + b",".join(frames) + b"]", text=True)

    def _next(self) -> list[bytes]:
        frames: list[bytes] = []
        size = 0
        while self._out and len(frames) < MAX_MESSAGES:
            asked = self._asked.get(self._out[0])
            if asked is not None:
                if frames and size + len(asked.frame) > FRAME_BYTES:
                    break
                frames.append(asked.frame)
                size += len(asked.frame)
            self._out.popleft()
        return frames

    def _heard(self, message: Incoming) -> None:
        if message.type != "reply":
            try:
                self._hears(message.type, message.data)
            except msgspec.DecodeError as error:  # of a newer gateway, perhaps: not ours to die of
                log.warning("%s could not be read: %s", message.type, error)
            return
        asked = self._asked.get(cast(int, message.id))
        if asked is None or asked.answer.done():
            return
        try:
            if _status.decode(message.data).status == "ok":
                asked.answer.set_result(_answers[asked.call].decode(message.data))
            else:
                asked.answer.set_exception(_refusal.decode(message.data).raised())
                asked.answer.exception()  # whoever asked may have gone
        except msgspec.DecodeError as error:
            asked.answer.set_exception(Unavailable(f"the answer to {asked.call} could not be read: {error}"))
            asked.answer.exception()

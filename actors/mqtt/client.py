"""A connection to a broker that several users subscribe over.

Who uses it calls `open`, `subscribe` and, in the end, `leave`. When the connection ends all users are told,
and nobody is subscribed to anything: each opens and subscribes anew, whenever it likes; the first opens the
connection, for all.

A message is acknowledged when it has been handed over; one of a user that `holds` what it gets, when that
calls `acknowledge`. What was not acknowledged a broker sends again, on the same session: such a client has
one that outlives its connections (`Options.session_expiry`). Messages of it for which nobody has subscribed
yet, and those that somebody left unacknowledged, wait `GRACE_SECONDS` for who subscribes to them. As long it
stays subscribed to what somebody has left: who ends with the agent, or begins anew, misses nothing.

Brokers may send a message once for each filter that selects it. With MQTT 5 they say for which, and a user
gets one of them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Protocol
from zlib import crc32

import msgspec

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.mqtt.broker import V5, Broker, Login
from actors.mqtt.client_id import ClientId
from actors.mqtt.dispatch import Dispatch
from actors.mqtt.link import Hello, Link
from actors.mqtt.message import Message
from actors.mqtt.packets import Answer, Received, TooLarge
from actors.mqtt.reasons import REFUSED, subscription_refused, words
from actors.mqtt.silence import Line, Silence
from actors.mqtt.topics import shared
from actors.mqtt.way import Way
from actors.system.failure import Refusal

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
GRACE_SECONDS = 10.0
_IDENTIFIERS = 268_435_455
"""The highest number of a subscription."""
WINDOW = 1000
"""Messages that are not acknowledged yet, after which no more are taken from the broker."""


class User(Protocol):
    """Told from the loop, until it leaves."""

    holds: bool
    """Whether it says by itself when a message need not be sent again."""

    def received(self, messages: list[Received]) -> None:
        """Messages to what it has subscribed to, in order."""

    def ended(self, error: NoConnection) -> None:
        """The connection has ended by itself; once for each."""


class Options(msgspec.Struct, frozen=True):
    """How a client appears to its broker, which keeps its session for `session_expiry` seconds (0: not at
    all)."""

    session_expiry: int = 0
    will: Message | None = None
    may_rename: bool = False


class Client:
    """`login` is asked at each connection, in a thread, and may raise `Transient` or `Permanent`."""

    def __init__(self, broker: Broker, login: Callable[[], Login], options: Options | None = None) -> None:
        self._broker = broker
        self._login = login
        self._options = options or Options()
        self._way = Way(broker)
        self._client_id = ClientId(self._options.may_rename)
        self._line = Line()
        self._turn = asyncio.Lock()
        self._failed: NoConnection | None = None
        self._failed_at = 0.0
        self._link: Link | None = None
        self._silence: Silence | None = None
        self._keepalive = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._users: dict[User, dict[str, int]] = {}
        """With their filters and QoS."""
        self._dispatch: Dispatch[User] = Dispatch()
        self._subscribed: dict[str, int] = {}
        """What the broker has been asked for, and its QoS."""
        self._identifiers: dict[str, int] = {}
        """Of filters on this connection."""
        self._numbers: set[int] = set()
        self._connection = 0
        self._unacknowledged: dict[int, Received] = {}
        """By packet identifier, in order."""
        self._owed: dict[User, dict[int, Received]] = {}
        """What holding users have not acknowledged, by packet identifier."""
        self._early: list[tuple[Received, set[User]]] = []
        """With who has had it; nobody: then it is a claim."""
        self._leaving: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._paused = False

    @property
    def where(self) -> str:
        return self._way.where

    @property
    def is_open(self) -> bool:
        return self._link is not None

    # The connection

    async def open(self, seconds: float) -> None:
        """Connect, unless it is connected. Raises `Transient` or `Permanent`.

        Who waits while another one fails shares that failure: each trying in turn would keep the last waiting
        for the sum of all.
        """
        asked = monotonic()
        async with self._turn:
            if self._link is not None:
                return
            if self._failed is not None and self._failed_at > asked:
                raise type(self._failed)(str(self._failed), code=self._failed.code)
            try:
                await self._connect(seconds)
            except NoConnection as error:
                self._failed, self._failed_at = error.with_traceback(None), monotonic()
                raise

    async def _connect(self, seconds: float) -> None:
        login = await asyncio.to_thread(self._login)
        link = Link(self._broker.version, self)
        expiry = self._options.session_expiry
        hello = Hello(
            self._client_id.of(login.client_id),
            login.username,
            login.password,
            self._broker.keepalive,
            self._options.will,
            clean=not expiry,
            session_expiry=expiry,
            receive_maximum=WINDOW if self._broker.version == V5 else None,
        )
        self._connection += 1
        try:
            await self._way.open(link, hello, (), seconds)
            if link.outflow is None:
                raise Transient(f"{self.where} closed the connection")
        except BaseException:
            link.abort()
            self._client_id.failed()
            self._forget_messages()
            raise
        login.accepted()
        self._begin(link)

    def _begin(self, link: Link) -> None:
        self._link = link
        self._client_id.connected(monotonic())
        asked = link.limits.server_keep_alive
        keepalive = self._keepalive = float(self._broker.keepalive if asked is None else asked)
        self._silence = Silence(link, self._line, ANSWER_SECONDS, keepalive or ANSWER_SECONDS, hears=True)
        self._schedule_watch()
        self._acknowledge()
        if self._early:
            self._wait_for_users()

    async def close(self) -> None:
        """Say goodbye. Nobody is told anything any more."""
        self._users.clear()
        link = self._release()
        if link is not None:
            await link.hang_up()

    def _end(self, reason: str, pause: float = 0.0) -> None:
        link = self._release()
        if link is None:
            return
        link.abort()
        for user in list(self._users):
            user.ended(Transient(reason, retry_after=pause))

    def _release(self) -> Link | None:
        link, self._link = self._link, None
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._silence = None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._subscribed.clear()
        self._identifiers.clear()
        self._numbers.clear()
        self._forget_messages()
        return link

    def _forget_messages(self) -> None:
        """The broker has them still."""
        self._owed.clear()
        self._unacknowledged.clear()
        self._early.clear()
        self._paused = False
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    # Subscribing

    async def subscribe(self, user: User, filters: Mapping[str, int], seconds: float) -> None:
        """Send the user what these filters select, each at its QoS, from now on and instead of what it had
        subscribed to before. Raises `Permanent` naming the filter that the broker refuses, `Transient`."""
        link = self._link
        if link is None:
            raise Transient("not connected")
        had = self._users.get(user, {})
        self._forget_user(user)
        self._users[user] = dict(filters)
        for name in filters:
            self._dispatch.add(shared(name)[1], user, name)
        self._offer_early(user)
        # Also what others have subscribed to: the broker says anew what it has kept of these topics.
        wanted = self._wanted_qos(filters)
        new = [
            name for name, qos in wanted.items() if name not in had or self._subscribed.get(name, -1) < qos
        ]
        self._subscribed.update((name, wanted[name]) for name in new)
        asked = [(name, link.subscribe((name,), wanted[name], self._identifier(name))) for name in new]
        try:
            async with asyncio.timeout(seconds):
                await self._see_subscribed(asked)
        except TimeoutError as error:
            raise Transient(f"{self.where} did not answer a subscription within {seconds:g} s") from error

    def _wanted_qos(self, filters: Mapping[str, int]) -> dict[str, int]:
        """Of what one user wants now, and of what others have at a lower QoS than they are to have.

        With MQTT 3.1.1 the highest of all: of filters that select the same topic mosquitto takes the QoS of
        any, and sends one message.
        """
        if self._broker.version == V5:
            return {name: max(qos, self._subscribed.get(name, 0)) for name, qos in filters.items()}
        highest = max([*filters.values(), *self._subscribed.values()], default=0)
        low = [name for name, qos in self._subscribed.items() if qos < highest]
        return dict.fromkeys([*filters, *low], highest)

    def _identifier(self, name: str) -> int | None:
        """The same over all runs of the agent: a session may be older than this one."""
        if self._broker.version != V5 or self._link is None or not self._link.limits.sub_id_available:
            return None
        number = self._identifiers[name] = crc32(name.encode()) % _IDENTIFIERS + 1
        self._numbers.add(number)
        return number

    def _forget_filter(self, name: str) -> None:
        del self._subscribed[name]
        self._numbers.discard(self._identifiers.pop(name, 0))

    async def _see_subscribed(self, asked: Iterable[tuple[str, "asyncio.Future[Answer | None]"]]) -> None:
        refused: Permanent | None = None
        for name, future in asked:
            answer = await future
            if answer is None:
                raise Transient(f"{self.where} closed the connection instead of subscribing")
            if answer.code >= REFUSED:
                if name in self._subscribed:
                    self._forget_filter(name)
                refused = refused or Permanent(subscription_refused(name, answer))
        if refused is not None:
            raise refused

    def leave(self, user: User) -> None:
        """Send it nothing more."""
        self._forget_user(user)
        self._users.pop(user, None)
        owed = self._owed.pop(user, None)
        if not self._options.session_expiry:
            self._unsubscribe()
        elif self._link is not None:
            if owed:
                self._leave_behind(owed.values())
            if self._leaving is None:
                self._leaving = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._unsubscribe)

    def _forget_user(self, user: User) -> None:
        for name in self._users.get(user, ()):
            self._dispatch.remove(shared(name)[1], user, name)

    def _unsubscribe(self) -> None:
        self._leaving = None
        wanted = {name for filters in self._users.values() for name in filters}
        gone = [name for name in self._subscribed if name not in wanted]
        for name in gone:
            self._forget_filter(name)
        if gone and self._link is not None:
            self._link.unsubscribe(gone)

    # Messages

    def received(self, link: Link, messages: list[Received]) -> None:
        connection = self._connection
        told: dict[User, list[Received]] = {}
        for message in messages:
            if message.mid in self._unacknowledged:
                continue  # the broker sends it again although it waits here
            users = self._dispatch.users(message.topic)
            claims = 0
            for user, names in users:
                if message.identifiers and not self._is_first(message, names):
                    continue
                told.setdefault(user, []).append(message)
                if user.holds and message.mid:
                    claims += 1
                    self._owed.setdefault(user, {})[message.mid] = message
            if message.mid:
                message.connection = connection
                self._claim(link, message, claims, known=bool(users))
        for user, those in told.items():
            user.received(those)

    def _is_first(self, message: Received, names: tuple[str, ...]) -> bool:
        """Whether it is the one, of those for several filters of a user, that it gets."""
        first = next((number for name in names if (number := self._identifiers.get(name))), None)
        if first is None or first in message.identifiers:
            return True
        # What the session has kept for a filter of before comes for none that is known.
        return self._numbers.isdisjoint(message.identifiers)

    def _claim(self, link: Link, message: Received, claims: int, known: bool) -> None:
        """Acknowledgements go out in the order of the messages."""
        if not known and self._options.session_expiry:
            self._early.append((message, set()))
            claims = 1
            if self._link is not None:
                self._wait_for_users()
        if not claims and not self._unacknowledged:
            link.acknowledge(message)
            return
        message.claims = claims
        self._unacknowledged[message.mid] = message
        if len(self._unacknowledged) >= WINDOW and not self._paused and self._broker.version != V5:
            self._paused = True
            link.pause_reading()

    def acknowledge(self, user: User, messages: Iterable[Received]) -> None:
        """By a user that holds them: they need not be sent again. Of an earlier connection they will be."""
        owed = self._owed.get(user, {})
        for message in messages:
            if owed.get(message.mid) is message:
                del owed[message.mid]
                message.claims -= 1
        self._acknowledge()

    def _acknowledge(self) -> None:
        link, waiting = self._link, self._unacknowledged
        while link is not None and waiting:
            first = next(iter(waiting.values()))
            if first.claims:
                break
            del waiting[first.mid]
            link.acknowledge(first)
        if self._paused and link is not None and len(waiting) <= WINDOW // 2:
            self._paused = False
            link.resume_reading()

    def _having(self, message: Received) -> set[User]:
        return {user for user, _ in self._dispatch.users(message.topic)}

    def _leave_behind(self, owed: Iterable[Received]) -> None:
        """The claim of who has left passes to who comes."""
        for message in owed:
            had = self._having(message)
            self._early.append((message, had))
            if had:
                message.claims -= 1
        self._wait_for_users(anew=True)
        self._acknowledge()

    def _wait_for_users(self, anew: bool = False) -> None:
        if self._grace is not None and anew:
            self._grace.cancel()
            self._grace = None
        if self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._give_up_early)

    def _offer_early(self, user: User) -> None:
        """The user has subscribed: perhaps to what came before."""
        told = []
        for message, had in self._early:
            if user not in had and user in self._having(message):
                message.claims -= not had
                had.add(user)
                told.append(message)
        for message in told:
            if user.holds and self._unacknowledged.get(message.mid) is message:
                self._owed.setdefault(user, {})[message.mid] = message
                message.claims += 1
        if told:
            user.received(told)
            self._acknowledge()

    def _give_up_early(self) -> None:
        self._grace = None
        early, self._early = self._early, []
        unwanted = [message for message, had in early if not had]
        if unwanted:
            many = len(unwanted)
            log.warning("%s: %d messages of topics that no endpoint wants any more", self.where, many)
        for message in unwanted:
            message.claims -= 1
        self._acknowledge()

    # Publishing

    async def publish(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, seconds: float = ANSWER_SECONDS
    ) -> None:
        """Returns when the broker has it. Raises `Refusal` when it will not have it, `Transient`."""
        link = self._link
        if link is None:
            raise Transient("not connected")
        if qos and not link.has_room:
            raise Transient(f"{self.where} takes no more messages before it has answered earlier ones")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            link.publish(topic.encode(), payload, qos, retain, done)
        except TooLarge as error:
            raise Refusal(str(error), "value") from error
        waits = {done, link.gone}
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            done.result()
            return
        done.cancel()
        raise Transient(f"{self.where} did not acknowledge a message within {seconds:g} s", code="TIMEOUT")

    def say(self, topic: str, payload: bytes) -> None:
        """At QoS 0, if there is a connection; nobody learns whether it arrives."""
        if self._link is not None:
            with contextlib.suppress(TooLarge):
                self._link.publish(topic.encode(), payload, 0, retain=False)

    def answered(self, messages: tuple[Any, ...], answer: Answer) -> None:
        for done in messages:
            if done.done():
                continue
            if answer.code < REFUSED:
                done.set_result(None)
            else:
                done.set_exception(Refusal(f"The broker refuses it: {words(answer)}", "register"))

    # Its end

    def ended(self, link: Link, reason: str | None, code: int, idle: bool) -> None:
        if link is not self._link:
            return
        mine = self._client_id
        mine.lost(monotonic(), idle, code)
        said = f": {reason}" if reason else ""
        self._end(f"{self.where} closed the connection{said}{mine.doubt}", mine.pause)

    def _schedule_watch(self) -> None:
        waits = [ANSWER_SECONDS, *([self._keepalive] if self._keepalive else [])]
        self._watch = asyncio.get_running_loop().call_later(min(waits) / 5, self._look)

    def _look(self) -> None:
        """A broker that is gone without a word leaves TCP waiting for ever."""
        link, silence = self._link, self._silence
        assert link is not None
        assert silence is not None
        now = monotonic()
        if self._paused:
            link.stay()
        else:
            silent = silence.too_long(now)
            if silent is not None:
                self._client_id.lost(now, well=False)
                self._end(f"no answer for {silent:g} s")
                return
            if self._keepalive and now - min(link.written_at, link.heard_at) >= self._keepalive / 2:
                if link.ping_in_flight is None:
                    link.ping()
                elif now - link.written_at >= self._keepalive / 2:
                    link.stay()  # the answer is behind a lot of messages, and the broker counts, too
        self._schedule_watch()

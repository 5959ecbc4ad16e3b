"""A connection to a broker that several users subscribe over.

Who uses it calls `open`, `subscribe` and, in the end, `leave`. When the connection ends all users are told,
and nobody is subscribed to anything: each opens and subscribes anew, whenever it likes; the first opens the
connection, for all.

A message is acknowledged when it has been handed over; one of a user that `holds` what it gets, when that
calls `acknowledge`. What was not acknowledged a broker sends again, on the same session: such a client has
one that outlives its connections (`Options.session_expiry`). Messages of it for which nobody has subscribed
yet wait `GRACE_SECONDS` for somebody to.

Brokers may send a message once for each filter that selects it. With MQTT 5 they say for which, and a user
gets one of them, unless the session is older than the connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Protocol

import msgspec

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.mqtt.asked import Asked
from actors.mqtt.broker import V5, Broker, Login
from actors.mqtt.client_id import ClientId
from actors.mqtt.dispatch import Dispatch
from actors.mqtt.greeting import Hello
from actors.mqtt.holding import Holding
from actors.mqtt.kept import Kept
from actors.mqtt.link import Link
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
    """`login` is asked at each connection, in a thread, and may raise `Transient` or `Permanent`. `kept` is
    what the broker's session has been asked for, in earlier lives, too."""

    def __init__(
        self,
        broker: Broker,
        login: Callable[[], Login],
        options: Options | None = None,
        kept: Kept | None = None,
    ) -> None:
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
        self._asked = Asked(broker.version, identified=not self._options.session_expiry)
        self._kept = kept or Kept()
        self._connection = 0
        self._holding: Holding[User] = Holding(self._users_of)
        self._grace: asyncio.TimerHandle | None = None
        self._paused = False
        self._asking = 0
        """How many wait for an answer of the broker, which is not read either while nothing is."""

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
        await asyncio.to_thread(self._kept.read)
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
        if not link.session_present:
            self._kept.filters.clear()
        if self._holding.waits_for_users or self._kept.filters:
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
        self._asked.clear()
        self._forget_messages()
        return link

    def _forget_messages(self) -> None:
        self._holding.forget()
        self._paused = False
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    # Subscribing

    async def subscribe(self, user: User, filters: Mapping[str, int], seconds: float) -> None:
        """Send the user what these filters select, each at its QoS, from now on and instead of what it had
        subscribed to before. Raises `Permanent` naming the filter that the broker refuses, `Transient`."""
        if self._options.session_expiry and self._kept.add(filters):
            await asyncio.to_thread(self._kept.write)
        link = self._link
        if link is None:
            raise Transient("not connected")
        had = self._users.get(user, {})
        self._forget_user(user)
        self._users[user] = dict(filters)
        for name in filters:
            self._dispatch.add(shared(name)[1], user, name)
        self._offer_early(user)
        available = bool(link.limits.sub_id_available)
        asked = [
            (name, link.subscribe((name,), qos, self._asked.identifier(name, available)))
            for name, qos in self._asked.more(filters, had).items()
        ]
        try:
            with self._reading():
                async with asyncio.timeout(seconds):
                    await self._see_subscribed(user, asked)
        except TimeoutError as error:
            raise Transient(f"{self.where} did not answer a subscription within {seconds:g} s") from error

    async def _see_subscribed(
        self, user: User, asked: Iterable[tuple[str, "asyncio.Future[Answer | None]"]]
    ) -> None:
        refused: Permanent | None = None
        for name, future in asked:
            answer = await future
            if answer is None:
                raise Transient(f"{self.where} closed the connection instead of subscribing")
            if answer.code >= REFUSED:
                self._asked.drop(name)
                refused = refused or Permanent(subscription_refused(name, answer))
            elif user.holds and not answer.code and self._asked.wants_qos(name):
                refused = refused or Permanent(
                    f"{self.where} offers only QoS 0 for {name}: what is lost on the way is not sent again"
                )
        if refused is not None:
            raise refused

    def leave(self, user: User) -> None:
        """Send it nothing more. On a session that outlives its connections somebody may come in its place,
        within `GRACE_SECONDS`: he gets what it has not acknowledged, and until then the broker is not told
        that nobody wants what it has subscribed to; nor is it when the connection ends before."""
        self._forget_user(user)
        self._users.pop(user, None)
        lasting = bool(self._options.session_expiry)
        self._holding.leave(user, lasting)
        self._acknowledge()
        if not lasting:
            self._unsubscribe(list(self._asked))
        elif self._link is not None:
            self._wait_for_users(anew=True)

    def _forget_user(self, user: User) -> None:
        for name in self._users.get(user, ()):
            self._dispatch.remove(shared(name)[1], user, name)

    def _unsubscribe(self, asked: Iterable[str]) -> None:
        wanted = {name for filters in self._users.values() for name in filters}
        gone = [name for name in asked if name not in wanted]
        for name in gone:
            self._asked.drop(name)
            self._kept.filters.discard(name)
        if gone and self._link is not None:
            self._link.unsubscribe(gone)

    # Messages

    def received(self, link: Link, messages: list[Received]) -> None:
        connection = self._connection
        told: dict[User, list[Received]] = {}
        for message in messages:
            users = self._dispatch.users(message.topic) if message.topic else ()
            holders: list[User] = []
            for user, names in users:
                if message.identifiers and not self._asked.is_first(message, names):
                    continue
                told.setdefault(user, []).append(message)
                if user.holds:
                    holders.append(user)
            if message.mid:
                message.connection = connection
                self._claim(link, message, holders, known=bool(users) or not message.topic)
        for user, those in told.items():
            user.received(those)

    def _users_of(self, topic: str) -> list[User]:
        return [user for user, _ in self._dispatch.users(topic)]

    def _claim(self, link: Link, message: Received, holders: list[User], known: bool) -> None:
        """Acknowledgements go out in the order of the messages."""
        if not known and self._options.session_expiry:
            self._holding.hold_for_somebody(message)
            if self._link is not None:
                self._wait_for_users()
        elif not self._holding.hold(message, holders):
            link.acknowledge(message)
            return
        self._pause(link)

    def _pause(self, link: Link) -> None:
        """A broker of MQTT 3.1.1 sends as many as it likes."""
        if len(self._holding) < WINDOW or self._paused or self._asking or self._broker.version == V5:
            return
        self._paused = True
        link.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._link is not None:
            self._paused = False
            self._link.resume_reading()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """While an answer is waited for, which comes behind the messages: there are no more of those than
        MQTT has packet identifiers."""
        self._asking += 1
        self._resume()
        try:
            yield
        finally:
            self._asking -= 1
            if self._link is not None:
                self._pause(self._link)

    def acknowledge(self, user: User, messages: Iterable[Received]) -> None:
        """By a user that holds them: they need not be sent again. Of an earlier connection they will be."""
        self._holding.let_go(user, (one for one in messages if one.connection == self._connection))
        self._acknowledge()

    def _acknowledge(self) -> None:
        link = self._link
        if link is not None:
            for message in self._holding.done():
                link.acknowledge(message)
        if len(self._holding) <= WINDOW // 2:
            self._resume()

    def _wait_for_users(self, anew: bool = False) -> None:
        if anew and self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._give_up_early)

    def _offer_early(self, user: User) -> None:
        """It has subscribed: perhaps to what came before."""
        told = self._holding.offer(user, user.holds)
        if told:
            user.received(told)
        self._acknowledge()

    def _give_up_early(self) -> None:
        self._grace = None
        early = self._holding.give_up_early()
        if early:
            log.warning("%s: %d messages of topics that no endpoint wants any more", self.where, early)
        self._acknowledge()
        self._unsubscribe(self._kept.filters.union(self._asked))

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
        with self._reading():
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

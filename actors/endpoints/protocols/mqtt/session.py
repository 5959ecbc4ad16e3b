"""The session of an MQTT endpoint: a user of a client that it may share with other endpoints."""

import logging
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PushedSession
from actors.mqtt.broker import Login
from actors.mqtt.client import Client, Options
from actors.mqtt.kept import Kept
from actors.mqtt.packets import Received
from storage.timestamps import unix_ms

from . import patterns, sparkplug
from .connection import Connection
from .devices import Devices
from .intake import Intake
from .notes import Notes
from .points import Checked
from .sparkplug import SparkplugIntake
from .watching import Watching
from .writing import Prepared, same

log = logging.getLogger(__name__)

VERIFY_SECONDS = 5.0
"""In which a device shows what was written to it."""
_NAME = 200
"""Characters of a client's name that another one is made of."""
KEPT_SECONDS = 604_800
"""For which a broker of MQTT 5 keeps the session of an agent that is away."""


class MqttSession(PushedSession):
    """Retained messages come again when another endpoint subscribes to the same topics: `Intake` knows them
    by their topic having been live."""

    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        connection: Connection = endpoint.connection
        self._connection = connection
        self._lines = lines
        self._listener = listener
        self._watching = Watching(listener)
        self._intake = self._made(endpoint)
        self._watching.place = self._intake.place
        self._client: Client | None = None
        self._key = identity(connection)
        self.holds = connection.ack_after_persist

    def _made(self, endpoint: CheckedEndpoint) -> Intake | SparkplugIntake:
        connection = self._connection
        if not connection.sparkplug:
            checked = Checked(endpoint.points, endpoint.devices, endpoint.rules)
            return Intake(connection, checked, self._watching)
        notes, reading = Notes(connection.address), connection.reading
        devices = Devices(self._watching, notes, reading.max_devices, reading.max_metrics)
        filters = (patterns.below(connection.topic).filter if connection.topic else sparkplug.EVERYTHING,)
        return SparkplugIntake(filters, devices, self._watching, notes, self._say)

    def _say(self, topic: str, payload: bytes) -> None:
        if self._client is not None:
            self._client.say(topic, payload)

    @property
    def patience(self) -> float:
        return 4 * self._connection.timeout + VERIFY_SECONDS

    async def connect(self) -> None:
        await self._leave()
        connection = self._connection
        client = self._client = self._lines.acquire(
            self._key, lambda: _client(connection, self._lines.folder)
        )
        self._intake.begin()
        try:
            await client.open(connection.timeout)
            await self._subscribe(client)
            if not client.is_open:
                raise Transient(f"{client.where} closed the connection")
        except BaseException:
            await self._leave()
            raise

    async def _subscribe(self, client: Client) -> None:
        """All at once: what the broker has kept for this session may come before its answers. The usual
        status topics first, which it may refuse."""
        seconds, wanted = self._connection.timeout, self._filters(self._intake.filters)
        presence = self._filters(self._intake.status_filters)
        try:
            await client.subscribe(self, {**presence, **wanted}, seconds)
        except Permanent as error:
            if not presence or self._intake.status_is_asked_for:
                raise
            await client.subscribe(self, wanted, seconds)
            self._intake.notes.say(f"no presence of devices: {error}")

    def _filters(self, filters: tuple[str, ...]) -> dict[str, int]:
        group = self._connection.group
        before = "" if group is None else f"$share/{group}/"
        return {before + each: self._connection.qos for each in filters}

    async def close(self) -> None:
        await self._leave()

    async def _leave(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        client.leave(self)
        if self._lines.release(self._key):
            await client.close()

    # As a user of the client

    def received(self, messages: list[Received]) -> None:
        take, at = self._intake.take, unix_ms()
        for message in messages:
            try:
                if message.left_out:
                    self._intake.left_out(message.topic)
                else:
                    take(message.topic, message.payload, message.retain, at)
            except Exception:
                # It would end the connection of all, and the broker would send it again on the next one.
                if self._intake.notes.say("messages that the agent stumbles over; the log has the first"):
                    log.exception("%s: a message on topic %r", self._connection.address, message.topic[:120])
        if self.holds:
            owed = [message for message in messages if message.mid]
            if owed:
                self._listener.persisted(lambda: self._acknowledge(owed))

    def _acknowledge(self, owed: list[Received]) -> None:
        if self._client is not None:
            self._client.acknowledge(self, owed)

    def ended(self, error: NoConnection) -> None:
        self._listener.lost(error)

    # Writing

    async def write(self, prepared: Prepared) -> Any:
        client = self._client
        if client is None:
            raise Transient("not connected")
        topic, payload = prepared.topic, prepared.payload
        if isinstance(self._intake, SparkplugIntake):
            topic, payload = self._intake.command(prepared.device, prepared.point.name, prepared.value)
        self._watching.begin(prepared)
        try:
            await client.publish(topic, payload, 1, prepared.retain, self._connection.timeout)
        except BaseException:
            self._watching.end(prepared)
            raise
        return prepared.value

    async def read_back(self, prepared: Prepared) -> tuple[Any, bool]:
        """What the device has shown on the point's own topic since it was written; waits for it."""
        shown = await self._watching.shown(prepared, VERIFY_SECONDS)
        if shown is None:
            raise Transient(f"the device has not shown it within {VERIFY_SECONDS:g} s", code="TIMEOUT")
        return shown, same(prepared.value, shown, prepared.point.shape)


def identity(connection: Connection) -> tuple[Any, ...]:
    """What endpoints agree on that share a connection; `keepalive` is that of the first."""
    return (
        msgspec.structs.replace(connection.broker, keepalive=0),
        connection.username,
        connection.password,
        connection.client_id,
        connection.clean,
    )


def trial(endpoint: CheckedEndpoint, lines: Lines) -> CheckedEndpoint:
    """One that is connected shares its client. Else it is a client of another name, of whom the broker
    keeps nothing, and in no group: else it would be given what is meant for the endpoint, or its like."""
    connection: Connection = endpoint.connection
    key = identity(connection)
    if any(known == key for known, _ in lines):
        return endpoint
    own = msgspec.structs.replace(
        connection,
        client_id=f"{(connection.client_id or 'callboard')[:_NAME]}-{token_hex(3)}",
        clean=True,
        group=None,
        ack_after_persist=False,
    )
    return msgspec.structs.replace(endpoint, connection=own)


def _client(connection: Connection, folder: Path | None) -> Client:
    name = connection.client_id or ""
    login = Login(name, connection.username, connection.password)
    options = Options(session_expiry=0 if connection.clean else KEPT_SECONDS)
    file = None
    if folder is not None and not connection.clean:
        whose = sha256(f"{connection.broker.host}:{connection.broker.port} {name}".encode()).hexdigest()
        file = folder / f"session-{whose[:16]}.json"
    return Client(connection.broker, lambda: login, options, Kept(file))

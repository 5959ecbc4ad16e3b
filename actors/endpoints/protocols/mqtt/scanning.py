"""Runs a search over MQTT: listens to what a broker hands out, and makes devices of it; or asks hosts whether
there is a broker."""

import asyncio
import errno
import logging
from collections.abc import Iterator
from secrets import token_hex
from typing import Any, Final

from actors.connections import os_errors
from actors.connections.connection import NoConnection, Permanent
from actors.connections.dialing import dial
from actors.endpoints.discovering import Found, Probing
from actors.mqtt.broker import V311, Login
from actors.mqtt.client import Client
from actors.mqtt.greeting import Hello
from actors.mqtt.link import Link
from actors.mqtt.packets import Answer, Received
from actors.mqtt.reasons import is_known, words
from conf.hosts import is_address

from . import conventions, devices_found, grouping, proposing
from .discovery import Place, Sample, Search
from .sampling import Sampler

log = logging.getLogger(__name__)

_SLICE: Final = 20
"""Topics and devices that are looked at before others have their turn."""


async def scan(search: Search, probing: Probing) -> None:
    """See `actors.endpoints.discovering.Scan`."""
    async with asyncio.TaskGroup() as tasks:
        if search.sample is not None:
            tasks.create_task(_listen(search, search.sample, probing))
        for place in search.places:
            tasks.create_task(_place(place, search, probing))


# What a broker hands out


async def _listen(search: Search, sample: Sample, probing: Probing) -> None:
    sampler = Sampler(sample.topics)
    where, at = sample.connection.address, sample.connection.at
    try:
        async with probing.probe(sample.connection.broker.host):
            await _sample(sample, sampler, probing)
    except asyncio.CancelledError:
        for found in _devices(sampler, search, sample, probing.validate):
            if found is not None:
                probing.found(found)
        raise
    except NoConnection as error:
        probing.trouble(where, str(error), at=at)
    except Exception as error:
        log.exception("listening to %s ended", where)
        probing.trouble(where, f"{type(error).__name__}: {error}", at=at)
    _tell_bounds(sampler, sample, probing)
    for number, found in enumerate(_devices(sampler, search, sample, probing.validate)):
        if found is not None:
            probing.found(found)
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)


async def _sample(sample: Sample, sampler: Sampler, probing: Probing) -> None:
    """As a client of its own, of whom the broker keeps nothing. Raises `NoConnection`."""
    connection = sample.connection
    login = Login(f"callboard-search-{token_hex(4)}", connection.username, connection.password)
    client = Client(connection.broker, lambda: login)
    try:
        await client.open(connection.timeout)
        try:
            await client.subscribe(sampler, dict.fromkeys(sample.filters, sample.qos), connection.timeout)
        except Permanent as error:
            if len(sample.filters) == 1:
                raise
            probing.trouble(connection.address, str(error), at=connection.at)
        try:
            async with asyncio.timeout(sample.seconds):
                await sampler.over.wait()
        except TimeoutError:
            return
        if sampler.failure is not None:
            raise sampler.failure
    finally:
        await client.close()


def _tell_bounds(sampler: Sampler, sample: Sample, probing: Probing) -> None:
    where, at = sample.connection.address, sample.connection.at
    if sampler.beyond:
        reason = (
            f"there are more than {sample.topics} topics (maxTopics): {sampler.beyond} messages are of others"
        )
        probing.trouble(where, reason, at=at)
    if sampler.is_flooded:
        probing.trouble(where, f"more came than is listened to: {sampler.messages} messages", at=at)


def _devices(sampler: Sampler, search: Search, sample: Sample, validate: bool) -> Iterator[Found | None]:
    """Those that there are; None where others may have their turn."""
    looks = conventions.Looks()
    for topic in sampler.topics.values():
        looks[topic.name] = proposing.look(topic)
        yield None
    for group in [*conventions.groups(looks), *grouping.groups(looks.values())]:
        try:
            yield devices_found.found(group, search, sample, validate)
        except Exception:  # one device costs no other, whatever it has published
            log.exception("what %s publishes cannot be looked at", group.base)


# Where brokers are

_NOBODY: Final = frozenset({errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})
"""What connecting to an address comes to where nobody is."""


class _Nobody:
    """Of a link that only says hello."""

    def answered(self, messages: tuple[Any, ...], answer: Answer) -> None: ...

    def received(self, link: Link, messages: list[Received]) -> None: ...

    def ended(self, link: Link, reason: str | None, code: int, idle: bool) -> None: ...


async def _place(place: Place, search: Search, probing: Probing) -> None:
    try:
        async with probing.probe(place.host):
            address = await probing.address(place.host)
            answer = await _hello(address, place, search.timeout)
    except (OSError, TimeoutError) as error:
        nobody = isinstance(error, TimeoutError) or error.errno in _NOBODY
        if place.expected or not nobody:
            reason = "no answer in time" if isinstance(error, TimeoutError) else os_errors.reason(error)
            # A name may lead elsewhere today.
            nobody = nobody and is_address(place.host)
            probing.trouble(str(place.at), reason, at=place.at, nobody=nobody)
        return
    except Exception as error:
        log.exception("asking %s ended", place.at)
        probing.trouble(str(place.at), f"{type(error).__name__}: {error}", at=place.at)
        return
    if answer is None or not is_known(answer.code):
        what = "does not answer a CONNECT" if answer is None else "answers something else to a CONNECT"
        probing.trouble(str(place.at), f"takes the connection, and is no MQTT broker: it {what}", at=place.at)
        return
    probing.found(_broker(place, address, answer))


async def _hello(address: str, place: Place, within: float) -> Answer | None:
    """What a broker says to a client without a name and a password; None where nobody does. Raises
    `OSError`, `TimeoutError` where nobody takes the connection."""
    async with asyncio.timeout(within):
        sock = await dial(address, place.port)
    link = Link(V311, _Nobody())
    try:
        await asyncio.get_running_loop().create_connection(lambda: link, sock=sock)
        link.log_in(Hello(f"callboard-search-{token_hex(4)}", keepalive=30))
        try:
            async with asyncio.timeout(within):
                answer = await link.connack
        except TimeoutError:
            return None
        if answer is not None and not answer.code:
            await link.hang_up()
        return answer
    finally:
        link.abort()


def _broker(place: Place, address: str, answer: Answer) -> Found:
    return Found(
        identity=f"mqtt:broker:{address}:{place.port}",
        name=f"mqtt_{place.host}_{place.port}",
        connection={"host": place.host, "port": place.port},
        confidence="high",
        metadata={
            "discoveryMethod": "connect",
            "broker": True,
            "loginRequired": bool(answer.code),
            "answer": "accepted" if not answer.code else words(answer),
        },
    )

"""The connection of destination `webhook`: each request holds a payload, or several as an array."""

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import quote

from actors.connections.connection import Permanent, Transient
from actors.publish.destinations.driver import Listener, Outgoing
from actors.publish.destinations.http_url import where
from actors.publish.destinations.posting import Answer, Posting, Site
from actors.publish.destinations.posting_driver import PostingDriver, halves
from actors.publish.destinations.request_pace import RequestPace
from actors.publish.destinations.webhook_bodies import joined, kind_of
from actors.publish.destinations.webhook_config import KEY_HEADER, TOPIC_HEADER, Given, tls_context

BELIEVED = 5
"""Payloads in a row that a server may refuse, once it has taken one, before it is the server's fault."""

_CONTENT = (400, 413, 422)
_PASSING = (408, 425, 429)
_NOT_THERE = (408, 429, 502, 503, 504)
_SECRET = 8  # characters of a header's value from which on it is hidden in answers


class WebhookDriver(PostingDriver[Outgoing]):
    """A status that is expected is delivery, unless it comes with a page for people.

    There is no other way to see whether a server takes payloads than to send it one. So a payload that it
    refuses is rejected only when it has just taken another one, or takes a later one. A server that refuses
    all of them is not set up as it should be, and they wait.
    """

    def __init__(self, config: Given, listener: Listener) -> None:
        super().__init__(site_of(config), listener, RequestPace(config.batch, config.timeout / 1000))
        self._config = config
        self._refused: list[tuple[int, Answer]] = []
        self._credit = 0

    async def connect(self) -> None:
        self._refused.clear()
        self._credit = 0
        await super().connect()

    async def check_access(self, posting: Posting) -> None:
        await reach(posting, self._config, self.pace.silence)

    def parts(self, batch: Sequence[Outgoing]) -> list[list[Outgoing]]:
        """Neighbours of one topic and kind go together."""
        parts: list[list[Outgoing]] = []
        before = None
        for message in batch:
            kind = kind_of(message.payload)
            now = (message.topic, kind) if kind.joins else None
            if now is not None and now == before:
                parts[-1].append(message)
            else:
                parts.append([message])
            before = now
        return parts

    async def post(self, posting: Posting, part: list[Outgoing]) -> Answer:
        kind = kind_of(part[0].payload)
        single = self._config.batch == 1 or not kind.joins
        body = part[0].payload if single else joined(kind, [message.payload for message in part])
        headers = headers_of(self._config, part[0].topic, body)
        if not any(name.lower() == "content-type" for name in self._config.headers):
            headers["Content-Type"] = kind.media_type
        if kind.deflated:
            headers["Content-Encoding"] = "deflate"
        return await self.ask(posting, body, len(part), headers)

    async def judge(self, posting: Posting, part: list[Outgoing], answer: Answer) -> list[list[Outgoing]]:
        if answer.status in self._config.expect and (self._config.accept_html or not answer.is_page):
            self._taken(part)
            return []
        if answer.status not in _CONTENT or (answer.is_page and answer.status != 413):
            raise failure(answer)
        if len(part) > 1:
            return halves(part)
        self._refused.append((part[0].seq, answer))
        if self._credit:
            self._credit -= 1
            self._reject()
        elif len(self._refused) >= BELIEVED:
            raise Permanent(answer.text)
        return []

    def drained(self) -> None:
        if self._refused:
            raise Permanent(self._refused[0][1].text)

    def _taken(self, part: list[Outgoing]) -> None:
        self._reject()
        self._credit = BELIEVED
        self.listener.delivered([message.seq for message in part])

    def _reject(self) -> None:
        for seq, answer in self._refused:
            self.listener.rejected([seq], answer.text)
        self._refused.clear()


def headers_of(config: Given, topic: str, body: bytes) -> dict[str, str]:
    """Those that depend on what is sent. Equal payloads of one topic have equal keys, whenever they are sent,
    and by nobody else: each has an id or a time of its own."""
    key = hashlib.sha256(topic.encode() + b"\0" + body).hexdigest()[:32]
    headers = {TOPIC_HEADER: quote(topic, safe="/"), KEY_HEADER: key}
    if config.hmac is not None:
        digest = hmac.new(config.hmac.secret.encode(), body, config.hmac.algorithm).hexdigest()
        headers[config.hmac.header] = f"{config.hmac.algorithm}={digest}"
    return headers


def site_of(config: Given) -> Site:
    secrets = [value for value in config.headers.values() if len(value) >= _SECRET]
    return Site(
        where=where(config.url),
        url=config.url,
        context=tls_context(config),
        headers=config.headers,
        method=config.method,
        secrets=(*secrets, *([config.hmac.secret] if config.hmac else [])),
    )


async def reach(posting: Posting, config: Given, silence: float) -> Answer:
    """Ask which methods there are, which changes nothing; whatever the server says, it is there. Raises
    `Transient` or `Permanent`."""
    answer = await posting.ask(b"", silence, method="OPTIONS")
    page = answer.status < 300 and answer.is_page and not config.accept_html
    if page or 300 <= answer.status < 400 or answer.status in _NOT_THERE:
        raise Transient(answer.text, answer.retry_after)
    return answer


def failure(answer: Answer) -> Transient | Permanent:
    """What an answer says that is not about the payloads."""
    if answer.status in _PASSING or not 400 <= answer.status < 500:
        return Transient(answer.text, answer.retry_after)
    return Permanent(answer.text, answer.retry_after)

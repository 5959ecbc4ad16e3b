"""Destination `webhook`: sends payloads of any format as the bodies of HTTP requests."""

import asyncio
import contextlib

from actors.connections.building import build
from actors.connections.connection import NoConnection
from actors.publish.destinations import cloud_topics, http_url
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.webhook_config import SECRETS, Given, check
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target, check_topic

NAME = "webhook"
TEST_SECONDS = 8.0


def target(_: Given, topic: str | None, identity: Identity) -> Target:
    """What the header with the topic says; raises `Refusal`."""
    if topic is None:
        return Target(cloud_topics.readings(identity), template=True)
    return Target(check_topic(topic, "route_json.topic"))


def driver(config: Given, _: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.webhook_driver import WebhookDriver

    return WebhookDriver(config, listener)


async def test(config: Given, _: Identity) -> DestinationTested:
    """Whether a server answers, within 8 s; it is sent nothing."""
    from actors.publish.destinations.posting import TIMED_OUT, Posting
    from actors.publish.destinations.webhook_driver import reach, site_of

    try:
        async with asyncio.timeout(TEST_SECONDS):
            site = await build(NAME, lambda: site_of(config))
            async with contextlib.aclosing(Posting(site)) as posting:
                answer = await reach(posting, config, config.timeout / 1000)
    except TimeoutError:
        return DestinationTested(False, error=TIMED_OUT)
    except NoConnection as error:
        return DestinationTested(False, error=str(error))
    where = http_url.where(config.url)
    return DestinationTested(True, message=f"Reached — {where} answers OPTIONS with {answer.status}")


DESTINATION = DestinationType(
    name=NAME, check=check, target=target, driver=driver, test=test, secrets=SECRETS, schema=Given
)

"""Destination `webhook`: sends payloads of any format as the bodies of HTTP requests."""

from actors.mqtt.topics import check_topic
from actors.publish.destinations import cloud_topics, http_url
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.webhook_config import SECRETS, Given, check
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target

NAME = "webhook"


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
    from actors.publish.destinations.posting import Posting, tried
    from actors.publish.destinations.webhook_driver import reach, site_of

    async def ask(posting: Posting) -> str:
        answer = await reach(posting, config, config.timeout / 1000)
        return f"Reached — {http_url.where(config.url)} answers OPTIONS with {answer.status}"

    return await tried(NAME, lambda: site_of(config), ask)


DESTINATION = DestinationType(
    name=NAME, check=check, target=target, driver=driver, test=test, secrets=SECRETS, schema=Given
)

"""Destination `mqtt`: publishes with QoS 1.

The library is imported by `mqtt_driver` alone, so that configuring costs no memory.
"""

import secrets
from typing import Any

from actors.failure import Refusal
from actors.publish.destinations.driver import (
    Delivered,
    DestinationType,
    Driver,
    Lost,
    Permanent,
    Transient,
)
from actors.publish.destinations.masks import unmasked
from actors.publish.destinations.mqtt_config import SECRETS, Config, check
from actors.publish.messages import DestinationTested

TEST_SECONDS = 5.0


def driver(config: Config, name: str, delivered: Delivered, lost: Lost) -> Driver:
    from actors.publish.destinations.mqtt_driver import MqttDriver

    return MqttDriver(config, config.client_id or name, delivered, lost)


async def test(config_json: dict[str, Any]) -> DestinationTested:
    """Connect and log in once, within 5 s."""
    from actors.publish.destinations.mqtt_driver import MqttDriver

    try:
        config = check(unmasked(config_json, {}, SECRETS))
    except Refusal as refusal:
        return DestinationTested(False, error=refusal.message)
    # Not the configured client id: a broker would end the running connection that has the same.
    name = f"callboard-test-{secrets.token_hex(4)}"
    attempt = MqttDriver(config, name, _nothing, _nothing, connect_seconds=TEST_SECONDS)
    try:
        await attempt.connect()
    except (Transient, Permanent) as error:
        return DestinationTested(False, error=str(error))
    await attempt.close()
    return DestinationTested(True, message=f"TCP reachable at {config.host}:{config.port}")


def _nothing(_: object) -> None:
    """A test sends nothing and does not mind how its connection ends."""


DESTINATION = DestinationType("mqtt", check, driver, test, SECRETS)

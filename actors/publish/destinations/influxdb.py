"""Destination `influxdb`: writes points with InfluxDB's v2 API."""

import asyncio
import contextlib

from actors.connections.building import build
from actors.connections.connection import NoConnection
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.influxdb_config import SECRETS, Config, Given, check, target
from actors.publish.messages import DestinationTested

NAME = "influxdb"
TEST_SECONDS = 8.0


def driver(config: Config, _: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.influxdb_driver import InfluxDriver

    return InfluxDriver(config, listener)


async def test(config: Config, _: Identity) -> DestinationTested:
    """Whether the server would take points, within 8 s; it is asked with a write of none."""
    from actors.publish.destinations.influxdb_driver import check_access, site_of
    from actors.publish.destinations.posting import TIMED_OUT, Posting

    try:
        async with asyncio.timeout(TEST_SECONDS):
            site = await build(NAME, lambda: site_of(config))
            async with contextlib.aclosing(Posting(site)) as posting:
                await check_access(posting, config, config.timeout)
    except TimeoutError:
        return DestinationTested(False, error=TIMED_OUT)
    except NoConnection as error:
        return DestinationTested(False, error=str(error))
    return DestinationTested(True, message=f"Connected — {config.org}/{config.bucket}")


DESTINATION = DestinationType(
    name=NAME,
    check=check,
    target=target,
    driver=driver,
    test=test,
    secrets=SECRETS,
    schema=Given,
    payload_format="line-protocol",
)

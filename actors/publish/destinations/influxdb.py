"""Destination `influxdb`: writes points with InfluxDB's v2 API.

The library is imported on the first connection, so that configuring costs no memory.
"""

import asyncio

from actors.connections.connection import NoConnection
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.influxdb_config import SECRETS, Config, Given, check, target
from actors.publish.messages import DestinationTested

TEST_SECONDS = 8.0


def driver(config: Config, _: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.influxdb_driver import InfluxDriver

    return InfluxDriver(config, listener)


async def test(config: Config, _: Identity) -> DestinationTested:
    """Whether the server would take points, within 8 s; it is asked with a write of none."""
    from actors.publish.destinations.influxdb_writes import TIMED_OUT, open_writes

    try:
        async with asyncio.timeout(TEST_SECONDS), open_writes(config) as writes:
            await writes.check_access()
    except TimeoutError:
        return DestinationTested(False, error=TIMED_OUT)
    except NoConnection as error:
        return DestinationTested(False, error=str(error))
    return DestinationTested(True, message=f"Connected — {config.org}/{config.bucket}")


DESTINATION = DestinationType(
    name="influxdb",
    check=check,
    target=target,
    driver=driver,
    test=test,
    secrets=SECRETS,
    schema=Given,
    payload_format="line-protocol",
)

"""Destination `influxdb`: writes points with InfluxDB's v2 API."""

from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.influxdb_config import SECRETS, Config, Given, check, target
from actors.publish.messages import DestinationTested

NAME = "influxdb"


def driver(config: Config, _: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.influxdb_driver import InfluxDriver

    return InfluxDriver(config, listener)


async def test(config: Config, _: Identity) -> DestinationTested:
    """Whether the server would take points, within 8 s; it is asked with a write of none."""
    from actors.publish.destinations.influxdb_driver import check_access, site_of
    from actors.publish.destinations.posting import Posting, tried

    async def ask(posting: Posting) -> str:
        await check_access(posting, config, config.timeout)
        return f"Connected — {config.org}/{config.bucket}"

    return await tried(NAME, lambda: site_of(config), ask)


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

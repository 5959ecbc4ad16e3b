"""`callboard run --demo`: a simulated plant, a broker, and the live view."""

import asyncio
import time
from typing import Any

from thespian.actors import ActorAddress

from actors.endpoints.messages import (
    AddEndpoint,
    DescribeDevice,
    DeviceDescribed,
    EndpointChanged,
    EndpointsListed,
    ListEndpoints,
    RemoveEndpoint,
)
from actors.publish.messages import (
    AddDestination,
    AddSubscription,
    BuffersReported,
    ChangeDestination,
    DestinationChanged,
    DestinationsListed,
    ListDestinations,
    ReportBuffers,
)
from actors.simulation.broker import EmbeddedBroker
from actors.simulation.plant import Plant, PlantDevice
from actors.subsystems.messages import ReportState, StateReported
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from actors.system.messages import DumpTree, TreeDumped
from api.cli.live_view import LiveDestination, LiveDevice, LiveSnapshot, LiveView, suggestions
from conf.settings import Settings

DESTINATION = "demo broker"
TOPIC = "callboard/plant"
POLL_INTERVAL_MS = 500
ASK_SECONDS = 5.0
START_SECONDS = 30.0


class Demo:
    """Plays the plant and configures the agent for it, as a client of the API would."""

    def __init__(self, base: AsyncioSystemBase, agent: ActorAddress, settings: Settings) -> None:
        self.base = base
        self.agent = agent
        self.endpoints = child_address(agent, "endpoints")
        self.publisher = child_address(agent, "publisher")
        self.api = settings.api
        self.plant = Plant()
        self.broker: EmbeddedBroker | None = None
        self.broker_port: int | None = None
        self.added: list[str] = []
        self.destination: int | None = None

    async def run(self) -> None:
        """Set up, then show the live view until it ends or is cancelled."""
        devices = await self.plant.start()
        await self._wait_until_running()
        await self._add_destination()
        for device in devices:
            self.added.append(await self._add_endpoint(device))
        await LiveView(self._snapshot).run()

    async def leave(self) -> None:
        """Take back what the next demo, whose ports are others, would find dead.

        Asks without looking at the answers: what cannot be taken back is put right by the next demo.
        """
        for uuid in self.added:
            await self.base.ask(self.endpoints, RemoveEndpoint(uuid), ASK_SECONDS)
        if self.destination is not None:
            rest = ChangeDestination(self.destination, enabled=False)
            await self.base.ask(self.publisher, rest, ASK_SECONDS)

    async def stop(self) -> None:
        await self.plant.stop()
        if self.broker is not None:
            await self.broker.stop()

    async def _ask(self, target: ActorAddress, message: Any, reply: type[Any]) -> Any:
        answer = await self.base.ask(target, message, ASK_SECONDS)
        if isinstance(answer, Failed):
            raise RuntimeError(answer.message)
        if not isinstance(answer, reply):
            raise RuntimeError(f"no answer to {type(message).__name__}")
        return answer

    async def _wait_until_running(self) -> None:
        async with asyncio.timeout(START_SECONDS):
            while (await self._ask(self.agent, ReportState(), StateReported)).state != "RUNNING":  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def _add_endpoint(self, device: PlantDevice) -> str:
        """The uuid. The plant's ports are new at each start: an endpoint of an earlier demo gives way."""
        listed = await self._ask(self.endpoints, ListEndpoints(), EndpointsListed)
        for row in listed.endpoints:
            if row.name == device.name:
                await self._ask(self.endpoints, RemoveEndpoint(row.uuid), object)
        endpoint = AddEndpoint(
            name=device.name,
            protocol="modbus",
            connection={"host": device.host, "port": device.port, "unitId": device.unit_id},
            poll_interval=POLL_INTERVAL_MS,
            data_points=list(device.data_points),
        )
        changed = await self._ask(self.endpoints, endpoint, EndpointChanged)
        uuid: str = changed.endpoint.uuid
        return uuid

    async def _add_destination(self) -> None:
        """An embedded broker, unless somebody has configured a destination of their own."""
        listed = await self._ask(self.publisher, ListDestinations(), DestinationsListed)
        earlier = [row for row in listed.destinations if row.name == DESTINATION]
        if listed.destinations and not earlier:
            return
        self.broker = EmbeddedBroker()
        self.broker_port = await self.broker.start()
        config = {"host": "127.0.0.1", "port": self.broker_port}
        if earlier:
            change = ChangeDestination(earlier[0].id, config_json=config, enabled=True)
            await self._ask(self.publisher, change, DestinationChanged)
            self.destination = earlier[0].id
            return
        added = await self._ask(
            self.publisher, AddDestination(DESTINATION, "mqtt", config), DestinationChanged
        )
        self.destination = added.destination.id
        subscription = AddSubscription(
            added.destination.id, route_json={"topic": TOPIC}, payload_format="tags"
        )
        await self._ask(self.publisher, subscription, object)

    async def _snapshot(self) -> LiveSnapshot:
        listed, buffers, tree = await asyncio.gather(
            self._ask(self.endpoints, ListEndpoints(), EndpointsListed),
            self._ask(self.publisher, ReportBuffers(), BuffersReported),
            self._ask(self.agent, DumpTree(), TreeDumped),
        )
        running = [row.address for row in listed.endpoints if row.address is not None]
        described = await asyncio.gather(
            *(self.base.ask(address, DescribeDevice(), ASK_SECONDS) for address in running)
        )
        return LiveSnapshot(
            at=time.monotonic(),
            # One that was removed since the list was made answers nothing of the kind.
            devices=[_device(one) for one in described if isinstance(one, DeviceDescribed)],
            destinations=[
                LiveDestination(
                    name=box.destination,
                    connected=box.connected,
                    outbox=box.rows,
                    messages=box.delivered,
                    address=f"127.0.0.1:{self.broker_port}" if box.destination == DESTINATION else "",
                    error=box.last_error,
                )
                for box in buffers.outboxes
            ],
            loop_lag_ms=tree.loop_lag_ms,
            urls=suggestions(f"http://127.0.0.1:{self.api.port}", self.broker_port),
        )


def _device(described: DeviceDescribed) -> LiveDevice:
    return LiveDevice(
        name=described.health.device,
        status=described.health.status,
        polls=described.metrics["pollTotalCount"],
        values=[(one["name"], one["lastValue"], one["unit"]) for one in described.registers],
    )

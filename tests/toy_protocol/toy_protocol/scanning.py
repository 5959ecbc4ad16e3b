"""Looks for toys: whoever answers a greeting as a toy does is one."""

import asyncio
from typing import Any

from actors.connections.connection import NoConnection
from actors.endpoints.discovering import Found, Probing
from actors.endpoints.protocol import BrowseRequest, CheckedEndpoint

from .discovery import ToyPlan
from .schemas import GivenConnection
from .session import PolledToy


async def scan(plan: ToyPlan, probing: Probing) -> None:
    async with asyncio.TaskGroup() as group:
        for host in plan.targets:
            group.create_task(_look(host, plan, probing))


async def _look(host: str, plan: ToyPlan, probing: Probing) -> None:
    try:
        address = await probing.address(host)
    except OSError as error:
        probing.trouble(host, str(error))
        return
    async with probing.probe(address):
        given: dict[str, Any] = {"host": address, "port": plan.port, "timeout": round(plan.timeout * 1000)}
        connection = GivenConnection(**given)
        toy = PolledToy(CheckedEndpoint(connection, (), "1", f"toy:{address}:{plan.port}"))
        try:
            await toy.connect()
            browsed = await toy.browse(BrowseRequest())
        except NoConnection as error:
            if error.code not in ("CONNECTION_REFUSED", "HOST_UNREACHABLE"):
                probing.trouble(address, str(error))
            return
        finally:
            await asyncio.shield(toy.close())
        points = tuple(node.data_point for node in browsed.nodes if node.data_point is not None)
        probing.found(
            Found(
                identity=f"toy:{address}:{plan.port}",
                name=f"Toy at {address}",
                connection=given,
                data_points=points,
                confidence="high",
                validated=probing.validate,
            )
        )

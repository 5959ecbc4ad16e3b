"""An OPC UA server that answers to multicast DNS, as a process of its own: `<address> <port>`. It says
`ready`, and ends when its standard input does."""

import asyncio
import logging
import sys

from asyncua import Server
from zeroconf import ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

SERVICE = "_opcua-tcp._tcp.local."


async def main(address: str, port: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://{address}:{port}/plant")
    await server.set_application_uri("urn:callboard:test:announced")
    index = await server.register_namespace("urn:plant")
    await server.nodes.objects.add_variable(index, "Level", 5.5)
    async with server:
        zeroconf = AsyncZeroconf(interfaces=[address])
        info = ServiceInfo(
            SERVICE,
            f"Plant.{SERVICE}",
            port,
            properties={"path": "/plant", "caps": "DA"},
            server="plant.local.",
            parsed_addresses=[address],
        )
        await (await zeroconf.async_register_service(info))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await zeroconf.async_close()


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

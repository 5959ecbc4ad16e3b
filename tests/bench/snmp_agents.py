"""Many SNMP agents in one process, which answer v2c and v3 as fast as Python can.

`python snmp_agents.py COUNT` prints their ports as a line of JSON, and answers until its standard input ends.
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[2]))

from actors.endpoints.protocols.snmp import keys, oids, pdus, usm
from actors.endpoints.protocols.snmp.ber import OCTETS, SEQUENCE, integer, octets, sequence, tlv
from actors.endpoints.protocols.snmp.ber import field as part
from actors.endpoints.protocols.snmp.ber import number as whole
from actors.endpoints.protocols.snmp.pdus import Pdu

USER = {"username": "bench", "authProtocol": "sha256", "privProtocol": "aes"}
AUTH_KEY, PRIV_KEY = "bench secret", "bench private"
UNKNOWN_ENGINES = (1, 3, 6, 1, 6, 3, 15, 1, 1, 4, 0)


class Agent(asyncio.DatagramProtocol):
    """Each variable's value is a Counter32 that grows with each request."""

    def __init__(self, number: int) -> None:
        self._engine = usm.Engine(b"\x80\x00\x1f\x88\x04" + f"agent {number}".encode(), 1, 1)
        auth = keys.master("sha256", AUTH_KEY)
        priv = keys.master("sha256", PRIV_KEY)
        self._user = usm.User(USER["username"], "sha256", auth, "aes", priv)
        self._security = usm.Security(self._user, self._engine, b"")
        self._nobody = usm.Security(usm.NOBODY, self._engine, b"")
        self._names: dict[bytes, list[bytes]] = {}
        self._count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        start, end = part(data, 0, len(data), SEQUENCE)
        version, at = whole(data, start, end)
        reply = self._secured(data) if version == usm.VERSION else self._plain(data, start, at, end)
        self._transport.sendto(reply, address)  # type: ignore[attr-defined]

    def _plain(self, data: bytes, start: int, at: int, end: int) -> bytes:
        _, at = octets(data, at, end)
        return tlv(SEQUENCE, data[start:at] + self._response(pdus.parse(data, at, end)))

    def _secured(self, data: bytes) -> bytes:
        if b"\x04\x05bench" not in data:
            heard = usm.decode(data, usm.NOBODY, keys.Keys(b"", b""))
            bindings = sequence(sequence(oids.encode(UNKNOWN_ENGINES), integer(1, 0x41)))
            body = integer(heard.pdu.number) + integer(0) + integer(0) + bindings
            return self._nobody.wrap(tlv(pdus.REPORT, body), heard.number, 0)
        heard = self._security.decode(data)
        return self._security.wrap(self._response(heard.pdu), heard.number, 3)

    def _response(self, pdu: Pdu) -> bytes:
        asked = pdu.data[pdu.start : pdu.stop]
        names = self._names.get(asked)
        if names is None:
            names = self._names[asked] = [oids.encode(binding.oid) for binding in pdus.bindings(pdu)]
        self._count += 1
        value = integer(1_000_000 + self._count, 0x41)
        bindings = b"".join(tlv(SEQUENCE, name + value) for name in names)
        return tlv(pdus.RESPONSE, integer(pdu.number) + integer(0) + integer(0) + tlv(SEQUENCE, bindings))


async def main() -> None:
    loop = asyncio.get_running_loop()
    ports = []
    for number in range(int(sys.argv[1])):
        transport, _ = await loop.create_datagram_endpoint(
            lambda number=number: Agent(number),  # type: ignore[misc]
            local_addr=("127.0.0.1", 0),
        )
        ports.append(transport.get_extra_info("sockname")[1])
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


assert OCTETS
if __name__ == "__main__":
    asyncio.run(main())

"""SNMP agents as the other end of an endpoint."""

import asyncio
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from servers.field_counterpart import TIMEOUT_MS, TWIN, AnyRelay, FieldCounterpart
from servers.snmpd import FIXED, USERS, Snmpd
from servers.udp_relay import UdpRelay


class SnmpAgent(FieldCounterpart):
    """Net-SNMP's agent; its values are set as anybody would who may write."""

    protocol = "snmp"
    name = "v2c"
    relay_kind = UdpRelay
    _NAMES: ClassVar[dict[str, str]] = {"counter": "1.0", "twin": "2.0", "setpoint": "3.0"}

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": relay.port,
            "community": "private",
            "timeout": TIMEOUT_MS,
            "retries": 0,
            "retryDelay": 100,
        }

    @property
    def data_points(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "oid": f"{FIXED}.{place}", "dataType": "integer", "writable": name == "setpoint"}
            for name, place in self._NAMES.items()
        ]

    async def set(self, number: int) -> None:
        numbers = {"1.0": number, "2.0": number + TWIN}
        self._agent.integers |= numbers
        if self._agent.running:
            await self._agent.write(numbers)

    @property
    def written(self) -> list[float]:
        value = self._agent.ask("3.0")
        return [value] if value else []

    def refuse_writes(self) -> bool:
        return False

    async def _run(self, stack: AsyncExitStack) -> int:
        self._agent.integers = {"1.0": 0, "2.0": TWIN, "3.0": 0}
        await self.start()
        stack.push_async_callback(self.stop)
        return self._agent.port

    def __init__(self, shared: Path) -> None:
        super().__init__(shared)
        self._agent = Snmpd(shared)

    @classmethod
    def share(cls, directory: Path) -> AbstractContextManager[Path]:
        return nullcontext(directory)

    async def stop(self) -> None:
        await asyncio.to_thread(self._agent.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._agent.start)


class SnmpUser(SnmpAgent):
    """The same, spoken to in secret."""

    name = "v3"
    login = True

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        user = USERS["aes"] | ({} if right else {"authKey": "wrong one"})
        return super().connection(relay, right) | {"version": "v3", "username": "aes"} | user

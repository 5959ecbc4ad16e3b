"""For every field protocol the other end."""

import asyncio
import contextlib
import json
import threading
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from bench.modbus_server import ILLEGAL_VALUE, ModbusServer

from servers.bacnet_counterpart import PolledBacnet, PushedBacnet
from servers.field_counterpart import TIMEOUT_MS, TWIN, AnyRelay, FieldCounterpart
from servers.mosquitto import Mosquitto, free_port
from servers.mqtt_device import MqttDevice
from servers.opcua import OpcUaServer
from servers.snmp_counterpart import SnmpAgent, SnmpUser
from servers.toy import ToyDevice


class ModbusTcp(FieldCounterpart):
    protocol = "modbus"
    _COUNTER, _SETPOINT = 4, 10

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": relay.port, "timeout": TIMEOUT_MS, "retryAttempts": 0}

    @property
    def data_points(self) -> list[dict[str, Any]]:
        return [
            {"name": "counter", "register": f"holding:{self._COUNTER}:uint16", "writable": False},
            {"name": "twin", "register": f"holding:{self._COUNTER + 1}:uint16"},
            {"name": "setpoint", "register": f"holding:{self._SETPOINT}:uint16", "writable": True},
        ]

    async def set(self, number: int) -> None:
        device = self._server.device()
        device[self._COUNTER], device[self._COUNTER + 1] = number, number + TWIN

    @property
    def written(self) -> list[float]:
        return list(self._written)

    def refuse_writes(self) -> bool:
        self._refuses = True
        return True

    def _asked(self, unit: int, function: int, address: int, count: int) -> int | None:
        if function not in (6, 16):
            return None
        return ILLEGAL_VALUE if self._refuses else None

    async def _run(self, stack: AsyncExitStack) -> int:
        self._refuses = False
        self._server = ModbusServer(on_request=self._asked)
        self._server.device()[self._SETPOINT] = 0
        await stack.enter_async_context(self._server)
        return self._server.port

    @property
    def _written(self) -> list[float]:
        value = self._server.device()[self._SETPOINT]
        return [value] if value else []

    async def stop(self) -> None:
        await self._server.stop()

    async def start(self) -> None:
        await self._server.start()


class PolledToy(FieldCounterpart):
    protocol = "toy"
    name = "polled"
    login = True
    _SUBSCRIBE = False

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": relay.port,
            "user": "ann",
            "password": "right one" if right else "wrong one",
            "subscribe": self._SUBSCRIBE,
            "timeout": TIMEOUT_MS,
        }

    @property
    def data_points(self) -> list[dict[str, Any]]:
        return [{"name": "counter"}, {"name": "twin"}, {"name": "setpoint", "writable": True}]

    async def set(self, number: int) -> None:
        self._device.set(counter=number, twin=number + TWIN)

    @property
    def written(self) -> list[float]:
        return [value for name, value in self._device.written if name == "setpoint"]

    def refuse_writes(self) -> bool:
        self._device.refuses = "it is locked"
        return True

    async def _run(self, stack: AsyncExitStack) -> int:
        self._device = ToyDevice(free_port(), "ann", "right one")
        self._device.set(setpoint=0)
        await self._device.start()
        stack.push_async_callback(self._device.stop)
        return self._device.port

    async def stop(self) -> None:
        await self._device.stop()

    async def start(self) -> None:
        await self._device.start()


class PushedToy(PolledToy):
    name = "pushed"
    _SUBSCRIBE = True


class PushedOpcUa(FieldCounterpart):
    """A server with one user; it keeps running from test to test."""

    protocol = "opcua"
    name = "pushed"
    login = True
    replays = True
    order = "times"
    back_within = 10.0
    _SUBSCRIBE = True
    _NODES: ClassVar[dict[str, str]] = {
        name: f"ns=2;s=Contract.{name}" for name in ("counter", "twin", "setpoint")
    }

    def __init__(self, shared: OpcUaServer) -> None:
        super().__init__(shared)
        self._server = shared

    @classmethod
    def share(cls, directory: Path) -> AbstractContextManager[OpcUaServer]:
        nodes = [
            {"node": node, "name": name, "type": "Int32", "value": 0, "writable": name == "setpoint"}
            for name, node in cls._NODES.items()
        ]
        users = {"ann": "right one"}
        return OpcUaServer(
            directory, "asyncua", anonymous=False, users=users, variables=0, interval_ms=0, nodes=nodes
        )

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        return {
            "endpointUrl": f"opc.tcp://127.0.0.1:{relay.port}",
            "username": "ann",
            "password": "right one" if right else "wrong one",
            "allowInsecurePassword": True,
            "connectionTimeout": 1000,
            "keepAliveInterval": 500,
            "useSubscription": self._SUBSCRIBE,
            "publishingInterval": 20,
            "samplingInterval": 0,
        }

    @property
    def data_points(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "nodeId": node}
            | ({"writable": True, "writeDataType": "Int32"} if name == "setpoint" else {})
            for name, node in self._NODES.items()
        ]

    async def set(self, number: int) -> None:
        await self._write(counter=number, twin=number + TWIN)

    async def _write(self, **values: int) -> None:
        """What it has at once, or else from its next start on."""
        for entry in self._server.config["nodes"]:
            entry["value"] = values.get(entry["name"], entry["value"])
        for name, value in values.items() if self._server.running else ():
            await self._server.tell("write", node=self._NODES[name], type="Int32", value=value)

    @property
    def written(self) -> list[float]:
        value = self._server.ask("read", node=self._NODES["setpoint"])["value"]
        return [value] if value else []

    def refuse_writes(self) -> bool:
        return False

    async def _run(self, stack: AsyncExitStack) -> int:
        await self._write(counter=0, twin=TWIN, setpoint=0)
        return self._server.port

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)


class PolledOpcUa(PushedOpcUa):
    name = "polled"
    replays = False
    order = "arrival"
    _SUBSCRIBE = False


class MqttBroker(FieldCounterpart):
    """A broker behind the relay, and before it a device that publishes its state all the time."""

    protocol = "mqtt"
    marks = frozenset({"RETAINED_MESSAGE"})
    login = True
    _EVERY = 0.02

    def __init__(self, shared: Path) -> None:
        super().__init__(shared)
        self._directory = shared

    @classmethod
    def share(cls, directory: Path) -> AbstractContextManager[Path]:
        return nullcontext(directory)

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": relay.port,
            "username": "ann",
            "password": "right one" if right else "wrong one",
            "clientId": "agent",
            "topic": "plc",
            "keepalive": 1,
            "timeout": TIMEOUT_MS,
            "cleanSession": True,
        }

    @property
    def data_points(self) -> list[dict[str, Any]]:
        fields = [{"field": "counter"}, {"field": "twin"}]
        setpoint = {"field": "setpoint", "type": "number", "writeTopic": "plc/set"}
        return [{"topic": "plc/state", "metrics": [*fields, setpoint]}]

    async def set(self, number: int) -> None:
        self._state |= {"counter": number, "twin": number + TWIN}
        await self._publish()

    @property
    def written(self) -> list[float]:
        self._device.settle()
        return list(self._written)

    def refuse_writes(self) -> bool:
        return False

    async def _run(self, stack: AsyncExitStack) -> int:
        self._state: dict[str, Any] = {"setpoint": 0}
        self._written: list[float] = []
        self._broker = Mosquitto(self._directory, username="ann", password="right one")
        await self.start()
        stack.push(self._broker)
        stack.push_async_callback(self.stop)
        return self._broker.port

    async def stop(self) -> None:
        self._publishing.cancel()
        await asyncio.wait({self._publishing})
        await asyncio.to_thread(self._device.cut)
        await asyncio.to_thread(self._broker.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._broker.start)
        self._device = MqttDevice(self._broker.port, "ann", "right one", told=self._take)
        await asyncio.to_thread(self._device.connect)
        await asyncio.to_thread(self._device.subscribe, "plc/set")
        self._publishing = asyncio.create_task(self._go_on())

    def _take(self, topic: str, payload: bytes) -> None:
        self._state["setpoint"] = json.loads(payload)
        self._written.append(self._state["setpoint"])

    async def _publish(self) -> None:
        message = ("plc/state", json.dumps(self._state).encode())
        with contextlib.suppress(OSError):  # there may be no broker now
            self._device.pour([message])

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._EVERY)
            await self._publish()


class MqttRetained(MqttBroker):
    """The device says what has changed, retained; the broker keeps for the agent what comes meanwhile."""

    name = "retained"
    replays = True
    order = "none"
    marks = frozenset({"RETAINED_MESSAGE"})

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        return super().connection(relay, right) | {"cleanSession": False}

    def _take(self, topic: str, payload: bytes) -> None:
        super()._take(topic, payload)
        # The thread that it is told by is the one that reads the broker's answers.
        threading.Thread(target=self._say, daemon=True).start()

    def _say(self) -> None:
        with contextlib.suppress(OSError):  # there may be no broker now
            self._device.publish("plc/state", json.dumps(self._state), retain=True)

    async def _publish(self) -> None:
        await asyncio.to_thread(self._say)

    async def start(self) -> None:
        await super().start()
        await self._publish()

    async def _go_on(self) -> None:
        await asyncio.Event().wait()


_ALL = (
    ModbusTcp,
    MqttBroker,
    MqttRetained,
    PolledBacnet,
    PolledOpcUa,
    PolledToy,
    PushedBacnet,
    PushedOpcUa,
    PushedToy,
    SnmpAgent,
    SnmpUser,
)
FIELD_COUNTERPARTS: dict[str, type[FieldCounterpart]] = {
    f"{each.protocol} {each.name}".strip(): each for each in _ALL
}

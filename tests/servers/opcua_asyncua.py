"""asyncua's OPC UA server as a process of its own, with the plant of `servers.opcua`. It is told what to be
by the first line of its standard input, JSON, and what to do by the further ones; it ends with its input.

Each line is answered by one on standard output: `{"ok": ...}` or `{"error": ...}`.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from asyncua import Server, ua
from asyncua.common.structures104 import new_struct, new_struct_field
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.event_generator import EventGenerator
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from servers.told_program import run

NAMESPACE = "urn:callboard:plant"
_LIMITS = {
    "maxNodesPerRead": "Server_ServerCapabilities_OperationLimits_MaxNodesPerRead",
    "maxNodesPerWrite": "Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite",
    "maxNodesPerBrowse": "Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse",
    "maxMonitoredItemsPerCall": "Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall",
}


class Users:
    """Everybody, by name and password or by certificate, that the configuration names."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._users: dict[str, str] = config["users"]
        self._certificates = [_der(pem) for pem in config["userCertificates"]]
        self._anonymous: bool = config["anonymous"]

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        if username is not None:
            known = username in self._users and self._users[username] == password
        elif certificate in self._certificates:
            known = True
        else:
            known = self._anonymous
        return User(role=UserRole.User, name=username) if known else None


class Plant:
    """The server, and what the lines of its input ask of it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.server = Server(user_manager=Users(config))  # type: ignore[arg-type]
        self.interval = config["intervalMs"] / 1000
        self.tick = 0
        self.counters: list[ua.NodeId] = []
        self.alarms: dict[str, EventGenerator] = {}
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        server, config = self.server, self.config
        server._application_uri = config["applicationUri"]
        server.name = "Plant"
        server.default_timeout = 60_000
        server.iserver.bind_condition_methods = 100
        if config["maxSessionTimeoutMs"]:
            server.iserver.min_session_timeout_ms = 500
            server.iserver.max_session_timeout_ms = config["maxSessionTimeoutMs"]
        await server.init()
        host = config["advertisedHost"]
        server.set_endpoint(f"opc.tcp://{host or config['address']}:{config['port']}{config['path']}")
        if host:
            server.set_match_discovery_endpoint_url(False)
            server.set_match_discovery_client_ip(False)
        server.socket_address = (config["address"], config["port"])
        await self._secure()
        for name, value in config["limits"].items():
            if name in _LIMITS:
                node = server.get_node(ua.NodeId(getattr(ua.ObjectIds, _LIMITS[name])))
                await node.write_value(ua.Variant(value, ua.VariantType.UInt32))
        await self._build()
        await server.start()
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        await self.server.stop()

    async def _secure(self) -> None:
        server, config = self.server, self.config
        await server.load_certificate(config["certificate"].encode(), "pem")
        await server.load_private_key(config["key"].encode(), None, "pem")
        types = {"None": ua.SecurityPolicyType.NoSecurity}
        for one in ua.SecurityPolicyType:
            types[one.name] = one
        names = {"Aes128_Sha256_RsaOaep": "Aes128Sha256RsaOaep", "Aes256_Sha256_RsaPss": "Aes256Sha256RsaPss"}
        wanted = [
            types["None" if policy == "None" else f"{names.get(policy, policy)}_{mode}"]
            for policy, mode in config["security"]
        ]
        server.set_security_policy(wanted)
        tokens: list[type] = [ua.AnonymousIdentityToken] if config["anonymous"] else []
        tokens += [ua.UserNameIdentityToken] if config["users"] else []
        tokens += [ua.X509IdentityToken] if config["userCertificates"] else []
        server.set_identity_tokens(tokens)
        if config["trusted"] is not None:
            trusted = [_der(pem) for pem in config["trusted"]]

            async def validate(certificate: x509.Certificate, application: ua.ApplicationDescription) -> None:
                if certificate.public_bytes(Encoding.DER) not in trusted:
                    raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

            server.set_certificate_validator(validate)

    async def _build(self) -> None:
        server = self.server
        self.ns = await server.register_namespace(NAMESPACE)
        ns = self.ns
        self.plant = await server.nodes.objects.add_folder(
            ua.NodeId("Plant", ns), ua.QualifiedName("Plant", ns)
        )
        counters = await self.plant.add_folder(
            ua.NodeId("Plant.Counters", ns), ua.QualifiedName("Counters", ns)
        )
        for number in range(self.config["variables"]):
            node = await counters.add_variable(
                ua.NodeId(f"Counter.{number}", ns),
                ua.QualifiedName(f"Counter{number}", ns),
                ua.Variant(float(number), ua.VariantType.Double),
            )
            self.counters.append(node.nodeid)
        await new_struct(
            server,
            ns,
            "Recipe",
            [
                new_struct_field("Name", ua.VariantType.String),
                new_struct_field("Temperature", ua.VariantType.Double),
                new_struct_field("Steps", ua.VariantType.UInt16, array=True),
            ],
        )
        self.custom = await server.load_data_type_definitions()
        for entry in self.config["nodes"]:
            await self.add(**entry)

    async def add(
        self,
        node: str,
        name: str,
        type: str,
        value: Any,
        writable: bool = True,
    ) -> None:
        variant = self._variant(type, value)
        nodeid = ua.NodeId.from_string(node)
        added = await self.plant.add_variable(nodeid, ua.QualifiedName(name, self.ns), variant)
        if writable:
            await added.set_writable()

    def _variant(self, type: str, value: Any) -> ua.Variant:
        if type == "Range":
            return ua.Variant(ua.Range(Low=value["Low"], High=value["High"]))
        if type == "Recipe":
            return ua.Variant(self.custom["Recipe"](**value))
        kind = ua.VariantType[type]
        return ua.Variant(self._each(kind, value), kind, is_array=isinstance(value, list))

    def _each(self, kind: ua.VariantType, value: Any) -> Any:
        return (
            [self._each(kind, one) for one in value] if isinstance(value, list) else self._plain(kind, value)
        )

    def _plain(self, kind: ua.VariantType, value: Any) -> Any:
        if value is None:
            return None
        make: dict[ua.VariantType, Callable[[Any], Any]] = {
            ua.VariantType.DateTime: lambda ms: datetime.fromtimestamp(ms / 1000, UTC),
            ua.VariantType.Guid: uuid.UUID,
            ua.VariantType.ByteString: bytes.fromhex,
            ua.VariantType.LocalizedText: ua.LocalizedText,
            ua.VariantType.QualifiedName: lambda text: ua.QualifiedName(text, self.ns),
            ua.VariantType.NodeId: ua.NodeId.from_string,
            ua.VariantType.StatusCode: lambda name: ua.StatusCode(getattr(ua.StatusCodes, name)),
            ua.VariantType.XmlElement: ua.XmlElement,
            ua.VariantType.Float: float,
            ua.VariantType.Double: float,
        }
        return make[kind](value) if kind in make else value

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.interval <= 0:
                await asyncio.sleep(0.02)
                due = loop.time()
                continue
            due += self.interval
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self.step()

    async def step(self) -> int:
        """All counters one further, all at the same source time."""
        self.tick += 1
        now = datetime.now(UTC)
        for number, nodeid in enumerate(self.counters):
            value = ua.DataValue(
                ua.Variant(float(self.tick + number), ua.VariantType.Double),
                SourceTimestamp=now,
                ServerTimestamp=now,
            )
            await self.server.iserver.write_attribute_value(nodeid, value)
        return self.tick

    # What is asked

    async def write(
        self,
        node: str,
        type: str | None = None,
        value: Any = None,
        status: str = "Good",
        source_ms: int | None = None,
        no_source: bool = False,
    ) -> None:
        nodeid = ua.NodeId.from_string(node)
        variant = self._variant(type, value) if type else None
        stamp = datetime.now(UTC) if source_ms is None else datetime.fromtimestamp(source_ms / 1000, UTC)
        found = ua.DataValue(
            variant,
            ua.StatusCode(getattr(ua.StatusCodes, status)),
            SourceTimestamp=None if no_source else stamp,
            ServerTimestamp=datetime.now(UTC),
        )
        await self.server.iserver.write_attribute_value(nodeid, found)

    async def read(self, node: str) -> Any:
        value = self.server.iserver.read_attribute_value(ua.NodeId.from_string(node))
        variant = value.Value
        return {
            "type": None if variant is None else variant.VariantType.name,
            "value": None if variant is None else _told(variant.Value),
            "status": value.StatusCode.name if value.StatusCode is not None else "Good",
        }

    async def remove(self, node: str) -> None:
        await self.server.delete_nodes([self.server.get_node(ua.NodeId.from_string(node))])

    async def rate(self, interval_ms: int) -> None:
        self.interval = interval_ms / 1000

    async def delete_subscriptions(self) -> int:
        service = self.server.iserver.subscription_service
        ids = list(service.subscriptions)
        await service.delete_subscriptions(ids)
        return len(ids)

    async def close_sessions(self) -> int:
        sessions = list(self.server.iserver._external_sessions.values())
        for session in sessions:
            await session.close_session(True)
        return len(sessions)

    async def counts(self) -> dict[str, int]:
        service = self.server.iserver.subscription_service
        items = [len(one.monitored_item_srv._monitored_items) for one in service.subscriptions.values()]
        return {
            "sessions": len(self.server.iserver._external_sessions),
            "subscriptions": len(service.subscriptions),
            "items": sum(items),
            "channels": len(self.server.iserver.asyncio_transports),
        }

    async def service_level(self, level: int) -> None:
        node = self.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
        await node.write_value(ua.Variant(level, ua.VariantType.Byte))

    async def alarm(
        self,
        name: str,
        active: bool,
        severity: int = 500,
        message: str = "",
        acked: bool = False,
        retain: bool | None = None,
    ) -> None:
        """A condition changes: an event of the server's."""
        generator = self.alarms.get(name)
        if generator is None:
            generator = self.alarms[name] = EventGenerator(self.server.iserver.isession)
            await generator.init(ua.NodeId(ua.ObjectIds.AlarmConditionType), self.server.nodes.server)
            generator.event.add_property("NodeId", ua.NodeId(f"Alarm.{name}", self.ns), ua.VariantType.NodeId)
        event = generator.event
        event.ConditionName = name
        event.SourceName = "Plant"
        event.SourceNode = self.plant.nodeid
        event.Severity = severity
        event.Retain = (active or not acked) if retain is None else retain
        event.Quality = ua.StatusCode()
        event.BranchId = ua.NodeId()
        event.ActiveState = ua.LocalizedText("Active" if active else "Inactive")
        setattr(event, "ActiveState/Id", active)
        event.AckedState = ua.LocalizedText("Acknowledged" if acked else "Unacknowledged")
        setattr(event, "AckedState/Id", acked)
        await generator.trigger(message=message or f"{name} {'on' if active else 'off'}")


def _told(value: Any) -> Any:
    """A value as JSON."""
    if isinstance(value, list):
        return [_told(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return round(value.replace(tzinfo=UTC).timestamp() * 1000)
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if isinstance(value, ua.QualifiedName):
        return value.Name
    if isinstance(value, ua.NodeId):
        return value.to_string()
    if isinstance(value, ua.StatusCode):
        return value.name
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if is_dataclass(value):
        return {field.name: _told(getattr(value, field.name)) for field in fields(value)}
    return str(value)


def _der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


if __name__ == "__main__":
    run(Plant)

"""bacpypes3's devices as a process of its own, several if wanted. It is told what to be by the first line of
its standard input, JSON, and what to do by the further ones; it ends with its input.

Each line is answered by one on standard output: `{"ok": ...}` or `{"error": ...}`. What both are is said in
`servers.bacnet_device`.
"""

import asyncio
from collections import Counter
from typing import Any

from bacpypes3.apdu import (
    AbortPDU,
    AbortReason,
    ConfirmedRequestPDU,
    Error,
    ReadRangeACK,
    ReadRangeRequest,
    RejectPDU,
    RejectReason,
    WritePropertyRequest,
)
from bacpypes3.app import Application
from bacpypes3.basetypes import (
    DateTime,
    ErrorClass,
    ErrorCode,
    HostNPort,
    LogRecord,
    PriorityValue,
    ResultFlags,
    Segmentation,
    ServicesSupported,
)
from bacpypes3.constructeddata import ListOf
from bacpypes3.errors import ExecutionError
from bacpypes3.local.cmd import Commandable
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.pdu import Address
from bacpypes3.primitivedata import ObjectIdentifier, PropertyIdentifier
from bacpypes3.vlan import VirtualNetwork

from servers.bacnet_objects import TrendLog, name_of, object_of, property_of, record_of, told
from servers.told_program import run

_RECORD = 40  # bytes that a record of a trend log takes at most
_GLOBAL_BROADCAST = "*:*"


class Device(Application):
    """One device, and what a test makes it do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.counts: Counter[str] = Counter()
        self.written: list[dict[str, Any]] = []
        self.refusals: dict[str, tuple[str, str]] = {}
        self.delay = 0.0
        self.silent = False
        self.logs: dict[Any, tuple[int, list[LogRecord]]] = {}

    async def indication(self, apdu: Any) -> None:
        name = _service(apdu)
        self.counts[name] += 1
        if self.silent:
            return
        if self.delay:
            await asyncio.sleep(self.delay)
        refusal = self.refusals.get(name)
        if refusal is None:
            await super().indication(apdu)
        elif isinstance(apdu, ConfirmedRequestPDU):
            await self.response(_refused(apdu, *refusal))

    async def do_WritePropertyRequest(self, apdu: WritePropertyRequest) -> None:
        await super().do_WritePropertyRequest(apdu)
        kind = self.get_object_id(apdu.objectIdentifier).get_property_type(apdu.propertyIdentifier)
        value = apdu.propertyValue.cast_out(kind, null=apdu.priority is not None)
        self.written.append(
            {
                "object": name_of(apdu.objectIdentifier),
                "property": str(apdu.propertyIdentifier),
                "value": told(value),
                "priority": apdu.priority,
            }
        )

    async def do_ReadRangeRequest(self, apdu: ReadRangeRequest) -> None:
        """Of trend logs (clause 15.8)."""
        if apdu.objectIdentifier not in self.objectIdentifier:
            raise ExecutionError(errorClass="object", errorCode="unknownObject")
        if apdu.objectIdentifier not in self.logs or apdu.propertyIdentifier != PropertyIdentifier.logBuffer:
            raise ExecutionError(errorClass="property", errorCode="propertyIsNotAList")
        first, records = self.logs[apdu.objectIdentifier]
        start, end = _range(apdu.range, first, records)
        room = max(1, (self.device_object.maxApduLengthAccepted - 60) // _RECORD)
        more = end - start > room
        if more and apdu.range is not None and _count(apdu.range) < 0:
            start = end - room
        elif more:
            end = start + room
        answer = ReadRangeACK(
            objectIdentifier=apdu.objectIdentifier,
            propertyIdentifier=apdu.propertyIdentifier,
            resultFlags=ResultFlags(
                [int(end > start and start == 0), int(end > start and end == len(records)), int(more)]
            ),
            itemCount=end - start,
            itemData=ListOf(LogRecord)(records[start:end]),
            context=apdu,
        )
        numbered = apdu.range is None or apdu.range.byPosition is None
        if numbered and end > start:
            answer.firstSequenceNumber = first + start
        await self.response(answer)

    def get_services_supported(self) -> ServicesSupported:
        found = super().get_services_supported()
        for name in self.refusals:
            if hasattr(ServicesSupported, name):
                found[getattr(ServicesSupported, name)] = 0
        return found


def _service(apdu: Any) -> str:
    """`readProperty`, as the standard writes it."""
    name = type(apdu).__name__.removesuffix("Request")
    return name[0].lower() + name[1:]


def _refused(apdu: Any, kind: str, reason: str) -> Any:
    if kind == "reject":
        return RejectPDU(reason=RejectReason(reason), context=apdu)
    if kind == "abort":
        return AbortPDU(reason=AbortReason(reason), context=apdu, srv=True)
    return Error(
        service_choice=apdu.apduService,
        errorClass=ErrorClass(kind),
        errorCode=ErrorCode(reason),
        context=apdu,
    )


def _count(asked: Any) -> int:
    found: int = next(
        each.count for each in (asked.byPosition, asked.bySequenceNumber, asked.byTime) if each is not None
    )
    return found


def _range(asked: Any, first: int, records: list[LogRecord]) -> tuple[int, int]:
    """Places in the log from the one up to the other."""
    if asked is None:
        return 0, len(records)
    count = _count(asked)
    if asked.byTime is not None:
        since = _instant(asked.byTime.referenceTime)
        times = [_instant(record.timestamp) for record in records]
        if count > 0:
            start = next((place for place, time in enumerate(times) if time > since), len(records))
        else:
            start = max((place for place, time in enumerate(times) if time < since), default=-1)
    elif asked.byPosition is not None:
        start = int(asked.byPosition.referenceIndex) - 1
    else:
        start = int(asked.bySequenceNumber.referenceSequenceNumber) - first
    if count < 0:
        start, end = start + count + 1, start + 1
    else:
        end = start + count
    limit = len(records)
    return min(max(start, 0), limit), min(max(end, 0), limit)


def _instant(stamp: DateTime) -> tuple[int, ...]:
    return (*stamp.date, *stamp.time)


class Devices:
    """All of them, and what the lines of the input ask."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.devices: dict[int, Device] = {}

    async def start(self) -> list[int]:
        """Returns their instances."""
        for network in {one["behind"] for one in self.config["devices"] if one.get("behind")}:
            VirtualNetwork(f"net-{network}")
        for one in self.config["devices"]:
            self.devices[one["instance"]] = _built(one)
        for device in self.devices.values():
            for link in device.link_layers.values():
                if hasattr(link, "server"):
                    await asyncio.wait_for(link.server._local_transport_ready.wait(), 5)
                    for task in link.server._transport_tasks:
                        await asyncio.wait_for(task, 5)
        return list(self.devices)

    def _device(self, instance: int | None) -> Device:
        return next(iter(self.devices.values())) if instance is None else self.devices[instance]

    async def set(
        self,
        object: str,
        value: Any,
        property: str = "present-value",
        priority: int | None = None,
        device: int | None = None,
    ) -> None:
        one = self._device(device)
        found = one.objectIdentifier[ObjectIdentifier(object)]
        attribute = PropertyIdentifier(property).attr
        kind = found.get_property_type(PropertyIdentifier(property))
        if attribute == "presentValue" and isinstance(found, Commandable):
            slot = PriorityValue(null=()) if value is None else PriorityValue(property_of(kind, value))
            found.priorityArray[(priority or 16) - 1] = slot
        else:
            setattr(found, attribute, property_of(kind, value))

    async def read(self, object: str, property: str = "present-value", device: int | None = None) -> Any:
        found = self._device(device).objectIdentifier[ObjectIdentifier(object)]
        return told(getattr(found, PropertyIdentifier(property).attr))

    async def add(self, device: int | None = None, **entry: Any) -> None:
        _add(self._device(device), entry)

    async def remove(self, object: str, device: int | None = None) -> None:
        one = self._device(device)
        one.delete_object(one.objectIdentifier[ObjectIdentifier(object)])

    async def written(self, device: int | None = None) -> list[dict[str, Any]]:
        return self._device(device).written

    async def forget(self, device: int | None = None) -> None:
        one = self._device(device)
        one.written.clear()
        one.counts.clear()

    async def counts(self, device: int | None = None) -> dict[str, int]:
        return dict(self._device(device).counts)

    async def refuse(
        self,
        service: str,
        kind: str = "reject",
        reason: str = "unrecognized-service",
        device: int | None = None,
    ) -> None:
        self._device(device).refusals[service] = (kind, reason)

    async def accept(self, service: str, device: int | None = None) -> None:
        self._device(device).refusals.pop(service, None)

    async def delay(self, seconds: float, device: int | None = None) -> None:
        self._device(device).delay = seconds

    async def silence(self, on: bool = True, device: int | None = None) -> None:
        self._device(device).silent = on

    async def subscriptions(self, device: int | None = None) -> list[dict[str, Any]]:
        return [
            {
                "object": name_of(each.obj_id),
                "address": str(each.client_addr),
                "process": int(each.proc_id),
                "confirmed": bool(each.confirmed),
                "lifetime": int(each.lifetime or 0),
            }
            for detection in self._device(device)._cov_detections.values()
            for each in detection.cov_subscriptions
        ]

    async def drop_subscriptions(self, device: int | None = None) -> None:
        """As a device that begins anew."""
        one = self._device(device)
        for detection in list(one._cov_detections.values()):
            for each in list(detection.cov_subscriptions):
                one.cancel_subscription(each)

    async def i_am(self, address: str | None = None, device: int | None = None) -> None:
        self._device(device).i_am(Address(address or _GLOBAL_BROADCAST))

    async def record(
        self,
        object: str,
        value: Any = None,
        time_ms: int = 0,
        status: list[int] | None = None,
        log_status: list[int] | None = None,
        keep: int = 10_000,
        device: int | None = None,
    ) -> None:
        """One more record of a trend log, which keeps so many; `log_status` in the place of a value."""
        one = self._device(device)
        identifier = ObjectIdentifier(object)
        first, records = one.logs[identifier]
        records.append(record_of(value, time_ms, status, log_status))
        gone = max(0, len(records) - keep)
        del records[:gone]
        one.logs[identifier] = first + gone, records
        log = one.objectIdentifier[identifier]
        log.recordCount, log.totalRecordCount = len(records), first + gone + len(records) - 1


def _built(config: dict[str, Any]) -> Device:
    segmentation = Segmentation(config.get("segmentation", "segmented-both"))
    device = DeviceObject(
        objectIdentifier=("device", config["instance"]),
        objectName=config.get("name") or f"device-{config['instance']}",
        vendorIdentifier=999,
        vendorName=config.get("vendorName", "Callboard"),
        modelName=config.get("modelName", "bacpypes3"),
        description=config.get("description", ""),
        segmentationSupported=segmentation,
        maxApduLengthAccepted=config.get("maxApdu", 1024),
        apduTimeout=1000,
        numberOfApduRetries=1,
    )
    if segmentation == Segmentation.noSegmentation:
        device.maxSegmentsAccepted = 1
    built: Device = Device.from_object_list([device, *_ports(config)])
    for entry in config["objects"]:
        _add(built, entry)
    if not config.get("rpm", True):
        built.refusals["readPropertyMultiple"] = ("reject", "unrecognized-service")
    if not config.get("cov", True):
        built.refusals["subscribeCOV"] = ("reject", "unrecognized-service")
    return built


def _add(device: Device, entry: dict[str, Any]) -> None:
    made = object_of(entry)
    device.add_object(made)
    if isinstance(made, TrendLog):
        device.logs[made.objectIdentifier] = 1, []


def _ports(config: dict[str, Any]) -> list[NetworkPortObject]:
    """On IP, or behind a router; a router has both."""
    ports = []
    if "address" in config:
        place = f"{config['address']}/{config.get('prefix', 32)}:{config.get('port', 47808)}"
        options: dict[str, Any] = {}
        if config.get("bbmd"):
            table = [f"{config['address']}:{config.get('port', 47808)}"]
            options = {"bacnetIPMode": "bbmd", "bbmdAcceptFDRegistrations": True}
            options |= {"bbmdForeignDeviceTable": [], "bbmdBroadcastDistributionTable": table}
        elif config.get("foreign"):
            options = {"bacnetIPMode": "foreign", "fdSubscriptionLifetime": 30}
            options["fdBBMDAddress"] = HostNPort(config["foreign"])
        if config.get("networkNumber"):
            options["networkNumber"] = config["networkNumber"]
            options["networkNumberQuality"] = "configured"
        ports.append(
            NetworkPortObject(
                place, objectIdentifier=("network-port", 1), objectName="NetworkPort-1", **options
            )
        )
    if config.get("behind"):
        ports.append(
            NetworkPortObject(
                objectIdentifier=("network-port", 2),
                objectName="NetworkPort-2",
                networkType="virtual",
                protocolLevel="bacnet-application",
                networkInterfaceName=f"net-{config['behind']}",
                networkNumber=config["behind"],
                networkNumberQuality="configured",
                macAddress=bytes.fromhex(config["mac"]),
                statusFlags=[0, 0, 0, 0],
                reliability="no-fault-detected",
                outOfService=False,
                changesPending=False,
                linkSpeed=0.0,
            )
        )
    return ports


if __name__ == "__main__":
    run(Devices)

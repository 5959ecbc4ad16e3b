"""What an endpoint answers about its devices."""

from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import Connecting
from actors.endpoints.health import PollRecord
from actors.endpoints.image import Image
from actors.endpoints.messages import (
    CountPolls,
    DescribeDevice,
    DeviceDescribed,
    DevicesReported,
    MetricsSummarised,
    ReportDevices,
    ReportHealth,
    SummariseMetrics,
)
from actors.endpoints.protocol import Session
from actors.endpoints.roster import Roster


class Answering(Connecting[Session]):
    """The endpoint inherits it, and keeps the devices; `scheduled`: their points are known, and read."""

    roster: Roster
    own: Image
    """Of the device that it is named for."""
    images: dict[str, Image]
    """By identifier; the roster's."""
    scheduled: bool

    def receiveMsg_ReportHealth(self, message: ReportHealth, sender: ActorAddress) -> None:
        self.send(sender, self._record(message.device_uuid).report())

    def receiveMsg_ReportDevices(self, message: ReportDevices, sender: ActorAddress) -> None:
        images = self.images.values()
        reports = {image.source.device_uuid: image.record.report() for image in images}
        self.send(sender, DevicesReported(reports))

    def receiveMsg_CountPolls(self, message: CountPolls, sender: ActorAddress) -> None:
        counts = self.own.record.counts()
        if len(self.images) > 1:
            points = sum(image.record.updated for image in self.images.values())
            counts = msgspec.structs.replace(counts, points=points)
        self.send(sender, counts)

    def _record(self, device_uuid: str | None) -> PollRecord:
        """That device's; of one that has not been heard of an empty one."""
        image = self.roster.of_uuid(device_uuid)
        return PollRecord(device_uuid or "") if image is None else image.record

    def receiveMsg_DescribeDevice(self, message: DescribeDevice, sender: ActorAddress) -> None:
        image, record = self.roster.of_uuid(message.device_uuid), self._record(message.device_uuid)
        registers: list[dict[str, Any]] = []
        if self.scheduled and image is not None:
            addresses = [point.address_text for point in image.description.points]
            registers = record.registers(image.source, addresses)
        identification = self.connection.identification if self.connection is not None else None
        self.send(sender, DeviceDescribed(record.report(), record.metrics(), registers, identification))

    def receiveMsg_SummariseMetrics(self, message: SummariseMetrics, sender: ActorAddress) -> None:
        record = self._record(message.device_uuid)
        self.send(sender, MetricsSummarised(record.device, record.summary()))

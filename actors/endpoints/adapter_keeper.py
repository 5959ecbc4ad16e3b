"""The keeper of endpoints, as far as adapters run them: the tree is brought in line with the rows."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec
from thespian.actors import ActorAddress

from actors.endpoints.account_keeper import AccountKeeper
from actors.endpoints.adapter import (
    Adapter,
    EndEndpoints,
    FinishPolls,
    KeepEndpoints,
    PollsFinished,
    ReportWanted,
    RunAdapter,
)
from actors.endpoints.endpoint import RunEndpoint
from actors.endpoints.messages import EndpointRow
from actors.endpoints.rows import completed
from actors.endpoints.schedule import phase
from actors.subsystems.messages import StopSubsystem, SubsystemStopped
from actors.system.addresses import child_address
from conf.settings import Settings

FINISH_WITHIN = 1.0  # seconds in which polls under way are to end when the agent stops


class RunEndpoints(msgspec.Struct, frozen=True):
    """Start: whom the tree needs below. What connections leave out, `settings` may say."""

    store: ActorAddress
    router: ActorAddress
    reconnect_min_ms: int
    reconnect_max_ms: int
    settings: Settings
    agent_uuid: str
    data_dir: str | None = None
    """In it each protocol has a folder of its name."""


class FinishOver(msgspec.Struct, frozen=True):
    """To itself: devices have had long enough to answer."""


class AdapterKeeper(AccountKeeper):
    """One adapter a protocol, while there are endpoints of it; each is told of its own."""

    config: RunEndpoints

    def __init__(self) -> None:
        super().__init__()
        self.stop_to: ActorAddress | None = None
        self.unfinished: set[str] = set()
        """The adapters whose endpoints' polls are waited for."""

    def adapter(self, protocol: str) -> ActorAddress:
        return child_address(self.myAddress, protocol)

    def folder(self, protocol: str) -> str | None:
        """Where the protocol may keep files of its own."""
        return None if self.config.data_dir is None else str(Path(self.config.data_dir) / protocol)

    def tell_adapter(self, protocol: str) -> None:
        """All its endpoints."""
        self._tell(protocol, KeepEndpoints(self._starts(protocol), only=True))

    def bring_in_line(self, now: Iterable[EndpointRow], before: Iterable[EndpointRow]) -> None:
        """These endpoints are `now` what they were `before`; nobody else has to do with it."""
        keep: defaultdict[str, list[RunEndpoint]] = defaultdict(list)
        end: defaultdict[str, list[str]] = defaultdict(list)
        running = set()
        for row in now:
            if row.address is not None:
                running.add(row.id)
                keep[row.protocol].append(self._start(row))
        for row in before:
            if row.address is not None and row.id not in running:
                end[row.protocol].append(row.name)
        for protocol, names in end.items():
            self._tell(protocol, EndEndpoints(tuple(names)))
        for protocol, starts in keep.items():
            self._tell(protocol, KeepEndpoints(tuple(starts)))

    def _tell(self, protocol: str, message: KeepEndpoints | EndEndpoints) -> None:
        """One that begins asks for all there is to know."""
        address = self.adapter(protocol)
        if protocol not in self.rows.protocols():
            self.stop_child(address)
        elif self.running(address):
            self.send(address, message)
        else:
            self.spawn(Adapter, protocol, RunAdapter(protocol, self.folder(protocol)))

    def receiveMsg_ReportWanted(self, message: ReportWanted, sender: ActorAddress) -> None:
        """While the rows are not loaded it is told by `take`."""
        if self.loaded:
            self.send(sender, KeepEndpoints(self._starts(message.protocol), only=True))

    # Stopping

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        """What a device was asked, and has counted as read, is still to be delivered."""
        self.stop_to = sender
        adapters = [one for one in self.running_children() if one != self.broker_users]
        self.unfinished = {one.addressDetails for one in adapters}
        for one in adapters:
            self.send(one, FinishPolls())
        self.wakeupAfter(FINISH_WITHIN, FinishOver())
        self._finish()

    def receiveMsg_PollsFinished(self, message: PollsFinished, sender: ActorAddress) -> None:
        self.unfinished.discard(sender.addressDetails)
        self._finish()

    def receiveMsg_FinishOver(self, message: FinishOver, sender: ActorAddress) -> None:
        self.unfinished.clear()
        self._finish()

    def _finish(self) -> None:
        if self.stop_to is not None and not self.unfinished:
            self.send(self.stop_to, SubsystemStopped())
            self.stop_to = None

    def _starts(self, protocol: str) -> tuple[RunEndpoint, ...]:
        return tuple(self._start(row) for row in self.rows.running(protocol))

    def _start(self, row: EndpointRow) -> RunEndpoint:
        """The phase goes by the id, so that it is the same in every life."""
        device = self.rows.devices.own(row.id)
        assert device is not None
        return RunEndpoint(
            uuid=row.uuid,
            name=row.name,
            protocol=row.protocol,
            device_uuid=device.uuid,
            device=device.name,
            connection=completed(row, self.config.settings, self.config.agent_uuid),
            data_points=row.data_points,
            poll_interval=row.poll_interval,
            phase=phase(row.id),
            reconnect_min_ms=self.config.reconnect_min_ms,
            reconnect_max_ms=self.config.reconnect_max_ms,
            router=self.config.router,
            keeper=self.myAddress,
        )

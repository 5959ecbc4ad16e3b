"""The adapter: supervisor of all endpoints of one protocol."""

from itertools import islice
from pathlib import Path

import msgspec
from thespian.actors import ActorAddress

from actors.endpoints.endpoint import Endpoint, FinishPoll, PollFinished, RunEndpoint
from actors.endpoints.lines import lines_of
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.supervision import Restart

AT_ONCE = 20
"""Endpoints that are begun before others have their turn."""


class RunAdapter(msgspec.Struct, frozen=True):
    """Start. Which endpoints to run it asks its parent: a change of one of thousands is to cost one."""

    protocol: str
    folder: str | None = None
    """Where the protocol may keep files of its own."""


class ReportWanted(msgspec.Struct, frozen=True):
    """To the parent, in each life; answered by `KeepEndpoints` with all there are and `only`."""

    protocol: str


class KeepEndpoints(msgspec.Struct, frozen=True):
    """To the adapter: run these, as they are now; with `only`, no others."""

    endpoints: tuple[RunEndpoint, ...]
    only: bool = False


class EndEndpoints(msgspec.Struct, frozen=True):
    """To the adapter: these are not to run any more."""

    names: tuple[str, ...]


class FinishPolls(msgspec.Struct, frozen=True):
    """To the adapter, which is to end: see that no device is asked for more; answered by `PollsFinished` when
    what they were asked is answered."""


class PollsFinished(msgspec.Struct, frozen=True):
    pass


class GoOn(msgspec.Struct, frozen=True):
    """To itself: there are endpoints to begin."""


class Adapter(Actor):
    """Brings its children in line with the endpoints it is told to run, which its start leaves alone, and
    holds the lines that they share."""

    RESTART = Restart(keep_children=True)

    def __init__(self) -> None:
        self.due: dict[str, RunEndpoint] = {}
        """What it has not come to, by name."""
        self.going_on = False
        self.finishing: ActorAddress | None = None
        self.unfinished: set[str] = set()
        """The endpoints whose polls are waited for."""

    def receiveMsg_RunAdapter(self, message: RunAdapter, sender: ActorAddress) -> None:
        self.lines = lines_of(message.protocol)
        self.lines.folder = None if message.folder is None else Path(message.folder)
        self.send(sender, ReportWanted(message.protocol))

    def receiveMsg_KeepEndpoints(self, message: KeepEndpoints, sender: ActorAddress) -> None:
        if message.only:
            self.due.clear()
            self.keep_only(child_address(self.myAddress, endpoint.name) for endpoint in message.endpoints)
        self.due.update({endpoint.name: endpoint for endpoint in message.endpoints})
        if not self.going_on:
            self._go_on()

    def receiveMsg_EndEndpoints(self, message: EndEndpoints, sender: ActorAddress) -> None:
        for name in message.names:
            self.due.pop(name, None)
            self.stop_child(child_address(self.myAddress, name))

    def receiveMsg_FinishPolls(self, message: FinishPolls, sender: ActorAddress) -> None:
        self.due.clear()
        self.finishing = sender
        endpoints = self.running_children()
        self.unfinished = {one.addressDetails for one in endpoints}
        for one in endpoints:
            self.send(one, FinishPoll())
        self._finish()

    def receiveMsg_PollFinished(self, message: PollFinished, sender: ActorAddress) -> None:
        self.unfinished.discard(sender.addressDetails)
        self._finish()

    def _finish(self) -> None:
        if self.finishing is not None and not self.unfinished:
            self.send(self.finishing, PollsFinished())
            self.finishing = None

    def receiveMsg_GoOn(self, message: GoOn, sender: ActorAddress) -> None:
        self._go_on()

    def _go_on(self) -> None:
        for name in list(islice(self.due, AT_ONCE)):
            self._run(self.due.pop(name))
        self.going_on = bool(self.due)
        if self.going_on:
            self.send(self.myAddress, GoOn())

    def _run(self, endpoint: RunEndpoint) -> None:
        address = child_address(self.myAddress, endpoint.name)
        if not self.running(address):
            self.spawn(Endpoint, endpoint.name, endpoint)
        elif self.start_of(address) != endpoint:
            self.restate(address, endpoint)

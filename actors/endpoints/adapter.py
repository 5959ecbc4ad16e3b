"""The adapter: supervisor of all endpoints of one protocol."""

from itertools import count

import msgspec
from thespian.actors import ActorAddress

from actors.endpoints.endpoint import Endpoint, RunEndpoint
from actors.endpoints.schedule import phase
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.supervision import Restart


class RunAdapter(msgspec.Struct, frozen=True):
    """Start, and again whenever the enabled endpoints of the protocol change."""

    endpoints: tuple[RunEndpoint, ...]


class Adapter(Actor):
    """Brings its children in line with the endpoints it is told to run."""

    RESTART = Restart(keep_children=True)

    def __init__(self) -> None:
        self.wanted: dict[str, RunEndpoint] = {}
        self.phases: dict[str, float] = {}
        self.positions = count()

    def receiveMsg_RunAdapter(self, message: RunAdapter, sender: ActorAddress) -> None:
        wanted = {endpoint.name: endpoint for endpoint in message.endpoints}
        self.keep_only(child_address(self.myAddress, name) for name in wanted)
        for name in self.wanted.keys() - wanted.keys():
            del self.phases[name]
        for name, endpoint in wanted.items():
            self._run(name, endpoint)
        self.wanted = wanted

    def _run(self, name: str, endpoint: RunEndpoint) -> None:
        if name not in self.phases:
            self.phases[name] = phase(next(self.positions))
        start = msgspec.structs.replace(endpoint, phase=self.phases[name])
        address = child_address(self.myAddress, name)
        if not self.running(address):
            self.spawn(Endpoint, name, start)
        elif endpoint is not (before := self.wanted.get(name)) and endpoint != before:
            self.restate(address, start)

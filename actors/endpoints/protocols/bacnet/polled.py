"""An endpoint that is read by polling."""

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, PollResult

from .port import Port, open_port, release_port


class BacnetPolled(PolledSession):
    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        self._endpoint = endpoint
        self._listener = listener
        self._lines = lines
        self._port: Port | None = None

    async def connect(self) -> None:
        if self._port is None:
            self._port = await open_port(self._lines, self._endpoint.connection.local)

    async def close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            release_port(self._lines, port)

    async def read(self, within: float) -> PollResult:
        raise NotImplementedError

"""The session of an MQTT endpoint."""

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PushedSession


class MqttSession(PushedSession):
    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        self.endpoint = endpoint

    async def connect(self) -> None:
        raise NotImplementedError

    async def close(self) -> None: ...

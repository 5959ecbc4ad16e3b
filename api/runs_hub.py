"""Who follows the runs of discovery."""

from collections.abc import Callable

from actors.discovery.messages import RunsProgressed
from api.discovery import run_view
from api.streams import Client, Hub, event


class RunsHub(Hub[Client[None]]):
    """Hands each run that has changed to every client, encoded once."""

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        super().__init__("discovery", changed)

    def publish(self, message: RunsProgressed) -> None:
        for row in message.runs if self._clients else ():
            told = event("run", run_view(row))
            for client in self._clients:
                client.put(told)

"""An address that leads nowhere: what is sent to it is lost, as behind a firewall that drops."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """A port whose queue of connections is full: Linux drops the packet that asks for one more."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.socket(family))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(0)
        for _ in range(2):
            waiting = opened.enter_context(socket.socket(family))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect((host, port))
        yield

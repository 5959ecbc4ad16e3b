"""Requests as they are on the wire, with headers that no HTTP library would send."""

import asyncio
import json
from typing import Any, NamedTuple

from fake_agent import Client


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any

    def refused(self) -> bool:
        """Whether it is the guard's 403, which says what to do."""
        return self.status == 403 and {"error", "message", "hint"} == self.body.keys()


async def exchange(
    client: Client, method: str, target: str, headers: dict[str, str], body: str = "", version: str = "1.1"
) -> Reply:
    """The reply to exactly these headers (and those that end the message). A `Host` of "" is left out."""
    lines = [
        f"{method} {target} HTTP/{version}",
        *(f"{name}: {text}" for name, text in headers.items() if text),
    ]
    lines += ["Connection: close", f"Content-Length: {len(body.encode())}"]
    return await send(client, "\r\n".join([*lines, "", body]).encode())


async def send(client: Client, raw: bytes) -> Reply:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    try:
        writer.write(raw)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        length = headers.get("content-length")
        content = await reader.readexactly(int(length)) if length and not raw.startswith(b"HEAD ") else b""
    finally:
        writer.close()
    is_json = headers.get("content-type", "").startswith("application/json")
    return Reply(int(status.split()[1]), headers, json.loads(content) if is_json and content else content)

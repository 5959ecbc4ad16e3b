"""What protects a session: the policy of its channel, and who the client says it is."""

from asyncua.client import Client

from actors.connections.connection import Permanent

from .connection import Connection


async def secure(client: Client, connection: Connection) -> None:
    """Give the client, which is not connected yet, its policy, certificates and user.

    Raises `NoConnection`."""
    if connection.security_mode != "None":
        raise Permanent(f"security mode {connection.security_mode} is not there yet")
    if connection.username is not None:
        client.set_user(connection.username)
        client.set_password(connection.password or "")

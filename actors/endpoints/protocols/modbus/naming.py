"""How what was found is called, and spelled for an endpoint to be made of it."""

from typing import Any

from .connection import Connection

_ENDPOINT = Connection(transport="tcp", unit=1)
"""What a connection is that says nothing."""
_PARITIES = {"N": "none", "E": "even", "O": "odd"}


def bus_of(connection: Connection, address: str) -> str:
    """Where units are told apart by their number alone: `10.0.1.5:502`, or a serial port as it was named."""
    if connection.is_serial:
        return connection.serial_port
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{connection.port}"


def title_of(connection: Connection, unit: int, identity: dict[str, str], name: str, address: str) -> str:
    """The name of a device: what it says of itself, and else where it is. Several of a kind are told apart by
    where they are."""
    model = identity.get("modelName") or identity.get("productName") or identity.get("productCode")
    where = connection.serial_port.rpartition("/")[2] if connection.is_serial else address
    if model:
        vendor = identity.get("vendor", "")
        said = model if model.lower().startswith(vendor.lower()) else f"{vendor} {model}"
        return (
            f"{said} at {where}"
            if unit in (0, 1, 255) and not connection.is_serial
            else f"{said} at {where} unit {unit}"
        )
    if name or connection.is_serial:
        return f"{name or where}_slave_{unit}"
    port = "" if connection.port in (502, 802) else f":{connection.port}"
    return f"Modbus Device at {where}{port}" + ("" if unit in (0, 1, 255) else f" unit {unit}")


def spelled(connection: Connection, unit: int) -> dict[str, Any]:
    """The connection of a unit as a client would send it, without what goes without saying."""
    given: dict[str, Any] = {"type": connection.transport}
    if connection.is_serial:
        given |= {
            "serialPort": connection.serial_port,
            "baudRate": connection.baud_rate,
            "dataBits": connection.data_bits,
            "stopBits": connection.stop_bits,
            "parity": _PARITIES[connection.parity],
        }
    else:
        given |= {"host": connection.host, "port": connection.port}
    given["unitId"] = unit
    for key, value, usual in (
        ("delayAfterConnect", connection.delay_after_connect, _ENDPOINT.delay_after_connect),
        ("delayBetweenRequests", connection.delay_between_requests, _ENDPOINT.delay_between_requests),
    ):
        if value != usual:
            given[key] = round(1000 * value)
    for key, text in (("ca", connection.tls.ca), ("cert", connection.tls.cert), ("key", connection.tls.key)):
        if text is not None:
            given[key] = text
    if not connection.tls.verify:
        given["rejectUnauthorized"] = False
    return given

import json
import subprocess
import sys
import zlib
from typing import Any

import msgspec
import pytest
from receiver import receive

from actors.publish.formats.compression import COMPRESSIONS, THRESHOLD, compress

BODY: dict[str, Any] = {
    "timestamp": 1741083330123,
    "node": "Presse 4 · °C 😀",
    "values": [0, -1, 2**63, -(2**63), 2**64 - 1, 0.1, 1e-300, 1e300, True, False, None, "", 'a"b\\c\n\0'],
    "nested": {"list": [], "object": {}},
    "msgId": "agent-1741083330123-0-k3x9q",
}


def padded(size: int) -> bytes:
    """A JSON object of that many bytes."""
    return b'{"text":"%b"}' % (b"x" * (size - len(b'{"text":""}')))


def plain(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize("repeats", [1, 100])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_receiver_finds_the_same_object_whatever_the_compression(compression: str, repeats: int) -> None:
    body = BODY | {"values": BODY["values"] * repeats}
    received = receive(compress(compression, plain(body)))
    assert received == body
    assert [type(value) for value in received["values"]] == [type(value) for value in body["values"]]


def test_json_stays_as_it_is() -> None:
    payload = plain(BODY)
    assert compress("json", payload) is payload


@pytest.mark.parametrize(("compression", "first"), [("msgpack", 0x85), ("cbor", 0xA5)])
def test_a_serialisation_is_a_map_without_marker_or_envelope(compression: str, first: int) -> None:
    assert compress(compression, plain(BODY))[0] == first


@pytest.mark.parametrize("compression", ["json+deflate", "msgpack+deflate", "cbor+deflate"])
def test_deflate_is_a_zlib_stream_of_the_serialisation(compression: str) -> None:
    payload = plain(BODY | {"values": BODY["values"] * 100})
    deflated = compress(compression, payload)
    assert deflated[:2] == b"\x78\x9c"
    assert zlib.decompress(deflated) == compress(compression.removesuffix("+deflate"), payload)


def test_deflate_is_for_what_is_larger_than_the_threshold() -> None:
    at, above = padded(THRESHOLD), padded(THRESHOLD + 1)
    assert compress("json+deflate", at) == at
    assert zlib.decompress(compress("json+deflate", above)) == above


@pytest.mark.parametrize("serialisation", ["msgpack", "cbor"])
def test_the_threshold_is_of_the_serialisation_not_of_the_json(serialisation: str) -> None:
    payload = plain({"values": [1000.5] * 500})
    assert len(payload) <= THRESHOLD < len(compress(serialisation, payload))
    assert compress(f"{serialisation}+deflate", payload)[:2] == b"\x78\x9c"
    payload = plain({"values": [None] * 2000})
    assert len(payload) > THRESHOLD >= len(compress(serialisation, payload))
    assert compress(f"{serialisation}+deflate", payload) == compress(serialisation, payload)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_payload_is_treated_alike(compression: str) -> None:
    payload = padded(THRESHOLD + 100)
    assert len({compress(compression, payload) for _ in range(1001)}) == 1


@pytest.mark.parametrize(
    ("number", "received"), [(2**64, 2.0**64), (-(2**63) - 1, -(2.0**63)), (10**400, None)]
)
def test_messagepack_gets_integers_beyond_64_bits_as_numbers_near_them(number: int, received: Any) -> None:
    assert receive(compress("msgpack", msgspec.json.encode({"value": number}))) == {"value": received}


def test_cbor_keeps_integers_beyond_64_bits() -> None:
    assert receive(compress("cbor", b'{"value":36893488147419103232}')) == {"value": 2**65}


def test_libraries_are_imported_when_they_are_first_needed() -> None:
    code = (
        "import sys\n"
        "from actors.publish.formats.compression import compress\n"
        "known = lambda: {'msgpack', 'cbor2'} & set(sys.modules)\n"
        "compress('json+deflate', b'{}'); assert known() == set()\n"
        "compress('msgpack', b'{}'); assert known() == {'msgpack'}\n"
        "compress('cbor', b'{}'); assert known() == {'msgpack', 'cbor2'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

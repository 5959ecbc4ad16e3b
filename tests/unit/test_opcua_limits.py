"""Calls that a server's limits split, and namespaces that move."""

from collections.abc import Sequence

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from actors.connections.connection import Permanent, Transient
from actors.endpoints.protocols.opcua import faults, values
from actors.endpoints.protocols.opcua.addressing import Namespaces
from actors.endpoints.protocols.opcua.asking import in_parts
from actors.endpoints.protocols.opcua.limits import MOST, Limit


async def test_a_call_is_split_by_the_limit() -> None:
    calls: list[int] = []

    async def call(part: Sequence[int]) -> list[int]:
        calls.append(len(part))
        return list(part)

    assert await in_parts(Limit(4), range(10), call) == list(range(10))
    assert calls == [4, 4, 2]


async def test_a_limit_that_the_server_does_not_tell_is_learnt() -> None:
    limit = Limit()
    assert limit.most == MOST
    calls: list[int] = []

    async def call(part: Sequence[int]) -> list[int]:
        calls.append(len(part))
        if len(part) > 60:
            raise Transient("too many", code="BadTooManyOperations")
        return list(part)

    assert await in_parts(limit, range(100), call) == list(range(100))
    assert calls == [100, 50, 50]
    assert limit.most == 50


async def test_one_that_is_too_many_is_an_error() -> None:
    async def call(part: Sequence[int]) -> list[int]:
        raise Transient("too many", code="BadTooManyOperations")

    with pytest.raises(Transient):
        await in_parts(Limit(), range(8), call)


async def test_too_few_results_are_no_results() -> None:
    async def call(part: Sequence[int]) -> list[int]:
        return list(part)[1:]

    with pytest.raises(Transient):
        await in_parts(Limit(), range(8), call)


def test_an_index_means_the_namespace_that_had_it_first() -> None:
    namespaces = Namespaces("plc")
    namespaces.learn(["http://opcfoundation.org/UA/", "urn:server", "urn:a", "urn:b"])
    assert [namespaces.index(one) for one in (0, 1, 2, "urn:b", "urn:c", 9)] == [0, 1, 2, 3, None, 9]
    namespaces.learn(["http://opcfoundation.org/UA/", "urn:server", "urn:b", "urn:c", "urn:a"])
    assert [namespaces.index(one) for one in (2, 3, "urn:a", "urn:c")] == [4, 2, 4, 3]
    namespaces.learn(["http://opcfoundation.org/UA/", "urn:server", "urn:b"])
    assert [namespaces.index(one) for one in (2, 3)] == [None, 2]


def test_a_server_that_tells_no_namespaces_is_believed() -> None:
    namespaces = Namespaces("plc")
    namespaces.learn([])
    assert namespaces.index(2) == 2
    assert namespaces.index("urn:a") is None


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (TimeoutError(), Transient, "TIMEOUT"),
        (ConnectionRefusedError(111, "refused"), Transient, "CONNECTION_REFUSED"),
        (ConnectionError("Connection is closed"), Transient, "CONNECTION_RESET"),
        (OSError(113, "no route"), Transient, "HOST_UNREACHABLE"),
        (ua.UaStatusCodeError(ua.StatusCodes.BadTooManySessions), Transient, "BadTooManySessions"),
        (ua.UaStatusCodeError(ua.StatusCodes.BadUserAccessDenied), Permanent, "BadUserAccessDenied"),
        (ua.UaStatusCodeError(ua.StatusCodes.BadCertificateUntrusted), Permanent, "BadCertificateUntrusted"),
        (KeyError("x"), Transient, "BadDecodingError"),
    ],
)
def test_errors_have_codes(error: Exception, kind: type[Exception], code: str) -> None:
    found = faults.trouble(error, "connecting", 3)
    assert type(found) is kind
    assert found.code == code


def test_a_write_says_nothing_but_the_value() -> None:
    value = ua.DataValue(ua.Variant(5, ua.VariantType.Int16), StatusCode=None)
    assert struct_to_binary(value) == bytes([1, 4, 5, 0])


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (ua.LocalizedText("Pumpe"), "Pumpe"),
        (ua.QualifiedName("Pump", 2), "2:Pump"),
        (ua.NodeId("a", 2), "ns=2;s=a"),
        (b"\0", "AA=="),
        (ua.Range(1, 2), {"Low": 1, "High": 2}),
        ([ua.Range(1, float("inf"))], [{"Low": 1, "High": None}]),
        (ua.NodeClass.Variable, 2),
    ],
)
def test_values_are_json(value: object, wanted: object) -> None:
    assert values.to_json(value) == wanted

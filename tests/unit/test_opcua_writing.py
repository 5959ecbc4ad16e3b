"""Values on their way to nodes, against a server that a test plays."""

from typing import Any

import pytest
from asyncua import ua
from test_opcua_writable import prepared

from actors.endpoints.listener import Nobody
from actors.endpoints.protocol import CheckedEndpoint
from actors.endpoints.protocols import find
from actors.endpoints.protocols.opcua import session, writing
from actors.endpoints.protocols.opcua.polled import OpcUaPolled
from actors.endpoints.protocols.opcua.writing import Kind, encode
from actors.system.failure import Refusal

NODE = ua.NodeId("typed", 2)


@pytest.mark.parametrize("value", [[[1, 2], [3]], [[1], 2], [1, [2]], [[], [1]], [[[1]], [[1, 2]]]])
def test_report_a_matrix_whose_rows_differ_is_refused(value: Any) -> None:
    """OPCFoundation/UA-AnsiC-Legacy 3: dimensions that do not fit the values end the connection."""
    with pytest.raises(Refusal) as refusal:
        prepared("ns=9;i=1", value)
    assert refusal.value.field == "value"


def test_a_value_of_too_many_dimensions_is_refused() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    with pytest.raises(Refusal) as refusal:
        prepared("ns=9;i=1", value)
    assert refusal.value.field == "value"


def test_a_matrix_is_written_with_its_dimensions() -> None:
    written = encode(NODE, prepared("ns=9;i=1", [[1, 2, 3], [4, 5, 6]]), Kind("Int32", True))
    assert written.variant.Dimensions == [2, 3]
    assert written.value == [[1, 2, 3], [4, 5, 6]]


class Node:
    """Of a type that may change; takes values of that alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kind = "Int16"
        self.looked = 0
        self.written: list[Any] = []
        self.answer = 0

        async def resolve(*_: Any) -> list[ua.NodeId]:
            return [NODE]

        async def kind_of(*_: Any) -> Kind:
            self.looked += 1
            return Kind(self.kind, False)

        async def write(_: Any, written: writing.Written) -> None:
            if written.variant.VariantType.name != self.kind:
                raise Refusal("the server refused the write: BadTypeMismatch", "value")
            writing.see_that_it_was_done(self.answer)
            self.written.append(written.variant.Value)

        monkeypatch.setattr(session, "resolve", resolve)
        monkeypatch.setattr(writing, "kind_of", kind_of)
        monkeypatch.setattr(writing, "write", write)
        protocol = find("opcua")
        endpoint: CheckedEndpoint = protocol.accept({"endpointUrl": "opc.tcp://plc"}, [])
        self.session = OpcUaPolled(endpoint, Nobody())
        monkeypatch.setattr(self.session, "_connected", lambda: None)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


async def test_report_a_node_that_came_again_with_another_type_is_written_with_that(node: Node) -> None:
    """node-opcua/node-opcua 273 and LibUA 120: BadTypeMismatch until the type is asked for again."""
    write = prepared("ns=2;s=other", 7)
    await node.session.write(write)
    await node.session.write(write)
    assert node.looked == 1
    node.kind = "Double"
    assert await node.session.write(write) == 7
    assert node.looked == 2
    node.kind = "Int32"
    assert await node.session.write(prepared("ns=2;s=other", 70_000)) == 70_000
    assert node.written == [7, 7, 7, 70_000]


async def test_what_does_not_fit_the_type_that_a_node_still_has_is_refused(node: Node) -> None:
    with pytest.raises(Refusal):
        await node.session.write(prepared("ns=2;s=other", 70_000))
    assert node.looked == 1
    with pytest.raises(Refusal):
        await node.session.write(prepared("ns=2;s=other", 70_000))
    assert node.looked == 2
    node.answer = ua.StatusCodes.BadUserAccessDenied
    with pytest.raises(Refusal) as refusal:
        await node.session.write(prepared("ns=2;s=other", 7))
    assert refusal.value.kind == "read_only"
    assert node.looked == 2

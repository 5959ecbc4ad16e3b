"""What a subscribed session tells of what it has read, and when."""

from typing import Any

import pytest
from asyncua import ua
from opcua_sessions import opened, point
from test_opcua_subscription import Server, told

from actors.endpoints.protocols.opcua import limits, pushed
from actors.endpoints.protocols.opcua.decoding import Found
from actors.endpoints.protocols.opcua.subscription import Subscriptions


class Rig:
    """A session that monitors two nodes; `answer` is what reading gives, after `meanwhile`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.one = opened("opc.tcp://plc", [point("a", "i=0"), point("b", "i=1")])
        self.server: Any = Server()
        self.session = self.one.session
        self.session._nodes = {handle: ua.NodeId(handle, 2) for handle in range(2)}
        self.subscriptions = Subscriptions(
            self.server,
            self.session._connection,
            limits.unknown(),
            self.session._fields,
            self.session._delivery,
        )
        self.answer = Found([7, 8], None, [None, None])
        self.meanwhile: Any = lambda: None
        rig = self

        class Reader:
            def __init__(self, *_: Any) -> None: ...

            async def read(self) -> Found:
                rig.meanwhile()
                return rig.answer

        monkeypatch.setattr(pushed, "Reader", Reader)

    @property
    def found(self) -> list[tuple[str, Any, str | None]]:
        return [(each.point, each.value, each.code) for each in self.one.heard.told]


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    rig = Rig(monkeypatch)
    await rig.subscriptions.monitor(dict(rig.session._nodes))
    return rig


async def test_what_was_read_does_not_come_after_what_the_server_has_told_meanwhile(rig: Rig) -> None:
    rig.meanwhile = lambda: rig.subscriptions.take(told(1, [1]))
    await rig.session._read_again(rig.server, [0, 1], rig.subscriptions)
    assert rig.found == [("b", 1, None), ("a", 7, None)]


async def test_a_node_that_is_gone_has_no_value_though_one_was_under_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(request: Any, answer: Any) -> Any:
        rig.subscriptions.take(told(1, [1]))
        return answer

    monkeypatch.setattr(rig.server, "DeleteMonitoredItemsRequest", delete)
    rig.answer = Found([7, None], [0, ua.StatusCodes.BadNodeIdUnknown], [None, None])
    await rig.session._look_for_gone(rig.server, rig.subscriptions)
    assert rig.found[-1] == ("b", None, "BadNodeIdUnknown")
    assert rig.subscriptions.handles == [0]

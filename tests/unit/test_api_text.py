import msgspec

from actors.system.messages import ActorNode, TreeDumped
from api.masking import masked
from api.tree_text import render
from storage.timestamps import iso

LEAF = ActorNode("leaf", "Leaf", "/leaf", "running", None, 5.0, 0, 0, 0, 0, 0.0, 0.0, 0, None, [])


def _named(name, *children, **changes):
    return msgspec.structs.replace(LEAF, name=name, children=list(children), **changes)


def test_the_tree_is_indented_under_parents():
    tree = _named(
        "agent", _named("endpoints", _named("modbus", _named("plc")), _named("opcua")), _named("gateway")
    )
    lines = render(TreeDumped(tree, 0.5, 3.0)).splitlines()
    assert lines[0] == "6 actors, event loop lag 0.50 ms, worst 3.00 ms"
    assert [line.partition(" running ")[0].rstrip() for line in lines[3:]] == [
        "agent",
        "├── endpoints",
        "│   ├── modbus",
        "│   │   └── plc",
        "│   └── opcua",
        "└── gateway",
    ]


def test_columns_are_aligned():
    tree = _named("agent", _named("a-much-longer-name", handled=1_234_567, max_ms=1234.4, uptime=93_784.0))
    heading, first, second = render(TreeDumped(tree, 0.0, 0.0)).splitlines()[2:]
    handled = heading.index("HANDLED") + len("HANDLED")
    assert first[:handled].split()[-1] == "0"
    assert second[:handled].split() == [
        "└──", "a-much-longer-name", "running", "1d02h", "0", "0", "0", "1234567"
    ]  # fmt: skip
    longest = heading.index("MAX") + len("MAX")
    assert first[:longest].endswith("  0.00 ms")
    assert second[:longest].endswith("  1234 ms")


def test_notes_are_health_and_last_error_on_one_line():
    tree = _named("plc", health="disconnected: timed out", last_error="ValueError: bad\nvalue", restarts=2)
    row = render(TreeDumped(tree, 0.0, 0.0)).splitlines()[-1]
    assert row.endswith("2  disconnected: timed out; last error: ValueError: bad value")


def test_uptimes_are_shown_in_their_two_largest_units():
    spans = {5: "5s", 65: "1m05s", 7_800: "2h10m", 442_800: "5d03h"}
    for seconds, text in spans.items():
        assert text in render(TreeDumped(_named("agent", uptime=float(seconds)), 0.0, 0.0))


def test_secrets_of_a_connection_are_masked_at_any_depth():
    connection = {
        "host": "10.0.0.1",
        "username": "u",
        "password": "p",
        "brokerUrl": "mqtt://u:p@host",
        "tls": {"privateKey": "k", "cert": "public"},
        "users": [{"Password": "q", "authToken": "t"}],
        "api_key": "x",
        "key": "-----BEGIN PRIVATE KEY-----",
        "headers": {"X-Api-Key": "y"},
        "keepalive": 60,
        "passphrase": "",
    }
    assert masked(connection) == {
        "host": "10.0.0.1",
        "username": "u",
        "password": "********",
        "brokerUrl": "mqtt://u:********@host",
        "tls": {"privateKey": "********", "cert": "public"},
        "users": [{"Password": "********", "authToken": "********"}],
        "api_key": "********",
        "key": "********",
        "headers": {"X-Api-Key": "********"},
        "keepalive": 60,
        "passphrase": "",
    }


def test_times_are_iso_with_milliseconds():
    assert iso(1_705_314_600_000) == "2024-01-15T10:30:00.000Z"
    assert iso(1_705_314_600_042) == "2024-01-15T10:30:00.042Z"
    assert iso(None) is None

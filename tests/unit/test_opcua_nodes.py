"""Node ids and browse paths, as clients spell them."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.endpoints.protocols.opcua.nodes import (
    LONGEST,
    OBJECTS,
    ROOT,
    BrowsePath,
    NodeRef,
    parse_node_id,
    parse_path,
    parse_place,
)

GUID = "09087e75-8e5e-499b-954f-f2a9603db28a"


@pytest.mark.parametrize(
    ("text", "namespace", "identifier"),
    [
        ("i=85", 0, 85),
        ("ns=2;i=4294967295", 2, 4_294_967_295),
        ("ns=2;s=Line.Speed", 2, "Line.Speed"),
        ('ns=3;s="DB_1"."Value;x=1"', 3, '"DB_1"."Value;x=1"'),
        ("ns=2;s=ns=3;i=5", 2, "ns=3;i=5"),
        (f"ns=1;g={GUID}", 1, UUID(GUID)),
        ("ns=65535;b=AQID", 65535, b"\1\2\3"),
        ("nsu=http://plant/x=1;s=a", "http://plant/x=1", "a"),
        ("s=Grüße 汉", 0, "Grüße 汉"),
    ],
)
def test_node_ids(text: str, namespace: int | str, identifier: object) -> None:
    found = parse_node_id(text)
    assert found == NodeRef(namespace, identifier)  # type: ignore[arg-type]
    assert parse_node_id(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Speed",
        "ns=2",
        "ns=2;",
        "ns=2;s=",
        "ns=-1;i=1",
        "ns=65536;i=1",
        "ns=99999999;i=1",
        "ns=2;i=-1",
        "ns=2;i=4294967296",
        "ns=2;i=\uff11",
        "ns=2;i=0x10",
        "ns=2;g=09087e75",
        "ns=2;b=AQ ID",
        "ns=2;b=A",
        "svr=1;ns=2;s=a",
        "ns=2;x=a",
        "nsu=;s=a",
        "ns=2;s=a\nb",
        "ns=2;s=a\x00",
        "s=" + "x" * LONGEST,
    ],
)
def test_what_is_no_node_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_node_id(text)


@pytest.mark.parametrize(
    ("text", "start", "steps"),
    [
        ("/Objects/2:Plant/2:Speed", OBJECTS, ((2, "Plant"), (2, "Speed"))),
        ("/0:Objects/2:Plant", OBJECTS, ((2, "Plant"),)),
        ("/2:Plant/Name", OBJECTS, ((2, "Plant"), (0, "Name"))),
        ("/Types/Data", ROOT, ((0, "Types"), (0, "Data"))),
        ("/Objects", ROOT, ((0, "Objects"),)),
        ("/nsu=http://plant/a;Pump/2:x", OBJECTS, (("http://plant/a", "Pump"), (2, "x"))),
        ("/2:a&/b&&c", OBJECTS, ((2, "a/b&c"),)),
        ("/2:12:30", OBJECTS, ((2, "12:30"),)),
    ],
)
def test_browse_paths(text: str, start: int, steps: tuple[tuple[int | str, str], ...]) -> None:
    found = parse_path(text)
    assert found == BrowsePath(start, steps)
    assert parse_path(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "/", "Objects/x", "//x", "/x/", "/2:", "/a&", "/nsu=x", "/nsu=;a", "/99999:a", "/a" * 40, "/a\n"],
)
def test_what_is_no_browse_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_path(text)


@given(st.text(max_size=60))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    try:
        found = parse_place(text)
    except ValueError:
        return
    assert parse_place(str(found)) == found


@given(
    st.integers(0, 65535), st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)
)
def test_a_name_of_any_letters_comes_back(namespace: int, name: str) -> None:
    for place in (NodeRef(namespace, name), BrowsePath(OBJECTS, ((namespace, name), (2, name)))):
        assert parse_place(str(place)) == place

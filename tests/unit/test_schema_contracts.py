"""What holds of the schemas that clients' input is read by: of every registered destination type and
protocol, of subscriptions and of drift options. A new one only needs an example of what it accepts.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers.certificates import Authority

from actors.endpoints import protocols
from actors.outputs import options
from actors.publish import destinations
from actors.publish import subscription_route as routes
from actors.system.checking import refuse_unknown
from actors.system.failure import Refusal
from conf.annotations import members, plan, section, types
from conf.fields import Unused

CERTIFICATE, KEY = Authority().issue("press-4")

DESTINATIONS: dict[str, dict[str, Any]] = {
    "iotistica": {},
    "mqtt": {
        "brokerUrl": "ws://broker",
        "username": "u",
        "sparkplug": {"groupId": "g", "edgeNodeId": "n", "primaryHostId": "h"},
    },
    "influxdb": {"url": "https://h", "org": "o", "bucket": "b", "token": "t"},
    "webhook": {
        "url": "https://h/hook",
        "headers": {"Authorization": "Bearer t"},
        "hmac": {"secret": "s"},
        "cert": CERTIFICATE,
        "key": KEY,
    },
    "azure-iot": {"hostName": "h", "deviceId": "d", "auth": {"sharedAccessKey": "a2V5"}},
    "aws-iot": {"endpoint": "h", "auth": {"cert": CERTIFICATE, "key": KEY}},
    "gcp-iot": {"clientId": "projects/p/x", "auth": {"jwt": "a.b.c"}},
}
SAID = {"topic": "a", "payload": "b"}
WITHOUT_NODE = {"brokerUrl": "ws://broker", "will": SAID, "birth": SAID}
INSTEAD = {"mqtt": {"will": WITHOUT_NODE, "birth": WITHOUT_NODE}}
"""By type and key, what is accepted where the other example has no place for the key."""
CONNECTIONS: dict[str, dict[str, Any]] = {
    "bacnet": {"host": "ahu", "deviceInstance": 7, "network": 5, "mac": 7},
    "mqtt": {"host": "broker", "username": "u"},
    "modbus": {"host": "plc", "slaveRange": {"start": 1, "end": 2}},
    "opcua": {"endpointUrl": "opc.tcp://plc:4840", "username": "u"},
    "snmp": {"host": "switch", "username": "u", "authKey": "a long key", "privKey": "another key"},
}
DATA_POINTS: dict[str, dict[str, Any]] = {
    "modbus": {"name": "a", "register": "holding:1:string", "count": 2},
    "opcua": {"name": "a", "nodeId": "ns=2;s=a", "deadband": 1},
}
"""Of protocols whose own example (`Protocol.example`) does not do."""


class Contract(msgspec.Struct):
    """`check` takes a mapping that is found at `path`, as it was stored, `accept` one that a client sends,
    None where keys that are not known are kept; `good` is one that both accept, `instead` others for single
    keys. Blank texts count as absent where `forms` send them."""

    name: str
    schema: Any
    path: str
    good: dict[str, Any]
    check: Callable[[dict[str, Any]], Any]
    accept: Callable[[dict[str, Any]], Any] | None = None
    forms: bool = False
    instead: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return self.name


def _contracts() -> Iterator[Contract]:
    for name in destinations.TYPES:
        kind = destinations.find(name)
        good = DESTINATIONS[name]
        yield Contract(
            name,
            kind.schema,
            "config_json",
            good,
            kind.check,
            kind.refuse_slips,
            forms=True,
            instead=INSTEAD.get(name, {}),
        )
    for name in protocols.built_in():
        protocol = protocols.find(name)
        connection = CONNECTIONS.get(name, protocol.example.connection)
        point = DATA_POINTS.get(name) or protocol.example.data_points[0]
        yield Contract(
            f"{name} connection",
            protocol.connection,
            "connection",
            connection,
            lambda given, check=protocol.check: check(given, []),
            lambda given, accept=protocol.accept: accept(given, []),
        )
        yield Contract(
            f"{name} data point",
            protocol.data_point,
            "data_points[0]",
            point,
            lambda given, check=protocol.check, connection=connection: check(connection, [given]),
            lambda given, accept=protocol.accept, connection=connection: accept(connection, [given]),
        )
    yield Contract(
        "route",
        routes.RouteJson,
        "route_json",
        {"topic": "a"},
        lambda given: routes.check_subscription(["a"], given, "custom", None),
        lambda given: refuse_unknown(given, routes.RouteJson, "route_json"),
    )
    yield Contract("drift options", options.DriftOptions, "drift_options", {}, options.read)


CONTRACTS = list(_contracts())
STRICT = [contract for contract in CONTRACTS if contract.accept is not None]


class Place(msgspec.Struct):
    """A field by one of its names, in the section that `above` leads to."""

    contract: Contract
    above: tuple[str, ...]
    key: str
    annotation: Any

    def __repr__(self) -> str:
        return f"{self.contract.name} {'.'.join((*self.above, self.key))}"

    @property
    def field(self) -> str:
        return ".".join((self.contract.path, *self.above, self.key))

    def given(self, **changes: Any) -> dict[str, Any]:
        """The good mapping, changed in the field's section, without other names of the field."""
        good = self.contract.instead.get((*self.above, self.key)[0], self.contract.good)
        return _changed(good, self.above, self._names(), changes)

    def _names(self) -> set[str]:
        schema = self.contract.schema
        for key in self.above:
            schema = plan(schema)[key].section
        fields = plan(schema)
        return {name for name, field in fields.items() if field.key == fields[self.key].key}


def _changed(good: Any, above: tuple[str, ...], without: set[str], changes: dict[str, Any]) -> dict[str, Any]:
    if above:
        below = _changed(good.get(above[0]) or {}, above[1:], without, changes)
        return {**good, above[0]: below}
    return {**{key: value for key, value in good.items() if key not in without}, **changes}


def _places(contract: Contract, schema: Any, above: tuple[str, ...] = ()) -> Iterator[Place]:
    for name, field in plan(schema).items():
        annotation = types(schema)[field.key]
        yield Place(contract, above, name, annotation)
        if field.section is not None:
            yield from _places(contract, field.section, (*above, name))


PLACES = [place for contract in CONTRACTS for place in _places(contract, contract.schema)]
EVERY_FIELD = pytest.mark.parametrize("place", PLACES, ids=repr)


def outcome(contract: Contract, given: Any) -> Any:
    """What the check returns, or the field and message that it refuses; anything else that is raised is an
    error."""
    try:
        return contract.check(given)
    except Refusal as refusal:
        return refusal.field, refusal.message


def refused(contract: Contract, given: Any) -> str:
    """The field that is refused."""
    found = outcome(contract, given)
    assert isinstance(found, tuple), f"accepted: {found}"
    field: str = found[0]
    return field


def wrong(annotation: Any) -> list[Any]:
    """Values that the type rules out, whatever else a schema declares."""
    if annotation is Unused:
        return ["a\0b"]
    if section(annotation) is not None:
        return [5, "x", True, [], [{}]]
    kinds = {get_origin(kind) or kind for kind, _ in members(annotation)}
    if kinds == {dict}:
        return [5, "x", True, [], [{}], object()]
    found: list[Any] = [{}, {"a": 1}, object()]
    if not kinds & {list, tuple}:
        found += [[], ["x"]]
    if kinds <= {str, Literal}:
        found += [5, 1.5, True, "a\0b", "\ud800"]
    if kinds <= {int, float}:
        found += ["x", "1e3", "0x1", "9" * 5000, True, float("inf"), float("nan")]
    if kinds == {int}:
        found += [1.5, "1.0"]
    if kinds == {bool}:
        found += [0, 1, "true", "no"]
    if kinds <= {list, tuple}:
        found += ["x", 5, [5], [None], [["x"]], ["\ud800"]]
    if kinds == {Literal}:
        found += ["no such choice"]
    return found


def beyond(annotation: Any) -> list[int]:
    """The first numbers outside of the declared range."""
    found = []
    for _, metas in members(annotation):
        found += [meta.ge - 1 for meta in metas if meta.ge is not None]
        found += [meta.le + 1 for meta in metas if meta.le is not None]
    return found


def choices(annotation: Any) -> list[Any]:
    return [
        choice for kind, _ in members(annotation) if get_origin(kind) is Literal for choice in get_args(kind)
    ]


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
def test_the_example_is_accepted(contract: Contract) -> None:
    assert not isinstance(outcome(contract, contract.good), tuple)
    if contract.accept is not None:
        contract.accept(contract.good)


@pytest.mark.parametrize("contract", STRICT, ids=repr)
def test_an_unknown_key_of_a_client_is_refused_by_its_name_and_a_stored_one_is_left_alone(
    contract: Contract,
) -> None:
    assert contract.accept is not None
    given = {**contract.good, "multiplicator": 0.1}
    with pytest.raises(Refusal, match="multiplicator is not known") as refused:
        contract.accept(given)
    assert refused.value.field == f"{contract.path}.multiplicator"
    assert outcome(contract, given) == outcome(contract, contract.good)
    contract.accept({**contract.good, "multiplicator": None})


@EVERY_FIELD
def test_every_known_key_of_a_client_is_accepted_and_one_much_like_it_is_refused_with_it(
    place: Place,
) -> None:
    refuse_unknown(place.given(**{place.key: object()}), place.contract.schema, place.contract.path)
    if place.contract.accept is None:
        return
    for key in {place.key.upper(), place.key.capitalize(), f"{place.key}_", f" {place.key}"} - {place.key}:
        with pytest.raises(Refusal) as refused:
            place.contract.accept(place.given(**{key: object()}))
        assert refused.value.field == f"{place.field.removesuffix(place.key)}{key}"
        meant = ".".join((*place.above, place.key))
        assert refused.value.message.endswith(f" is not known; did you mean {meant}?")


@EVERY_FIELD
def test_what_has_no_meaning_is_accepted_whatever_it_is(place: Place) -> None:
    if place.annotation is Unused:
        assert place.contract.accept is not None
        for value in (None, "", "x", 5, [], {"a": [1]}):
            given = place.given(**{place.key: value})
            place.contract.accept(given)
            assert outcome(place.contract, given) == outcome(place.contract, place.given())


def test_keys_that_the_reference_or_its_clients_send_without_effect_are_known() -> None:
    forms = {"azure-iot": "azure", "aws-iot": "aws", "gcp-iot": "gcp", "iotistica": "iotistica"}
    for name, provider in forms.items():
        destinations.find(name).refuse_slips({**DESTINATIONS[name], "provider": provider})
    destinations.find("mqtt").refuse_slips({"host": "h", "topicPrefix": "plant"})


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
@pytest.mark.parametrize("given", [None, 5, "x", [], [{}], True])
def test_what_is_no_object_is_refused_or_counts_as_none(contract: Contract, given: Any) -> None:
    if contract.schema.__struct_fields__ and (given or contract.path == "data_points[0]"):
        assert refused(contract, given) == contract.path


@EVERY_FIELD
def test_a_wrong_type_is_refused_naming_the_field(place: Place) -> None:
    for value in wrong(place.annotation):
        found = refused(place.contract, place.given(**{place.key: value}))
        assert found == place.field or found.startswith(f"{place.field}["), value


@EVERY_FIELD
def test_a_number_out_of_range_is_refused_naming_the_range(place: Place) -> None:
    for value in beyond(place.annotation):
        given = place.given(**{place.key: value})
        assert refused(place.contract, given) == place.field, value
        assert " from " in outcome(place.contract, given)[1]


@EVERY_FIELD
def test_null_counts_as_absent(place: Place) -> None:
    assert outcome(place.contract, place.given(**{place.key: None})) == outcome(place.contract, place.given())


@EVERY_FIELD
@pytest.mark.parametrize("blank", ["", " \t"])
def test_a_blank_text_counts_as_absent_or_is_refused(place: Place, blank: str) -> None:
    found = outcome(place.contract, place.given(**{place.key: blank}))
    absent = outcome(place.contract, place.given())
    if (
        place.contract.forms
        and section(place.annotation) is None
        and place.key not in ("password", "payload")
    ):
        assert found == absent
    else:
        assert found == absent or not isinstance(found, tuple) or found[0] == place.field


@EVERY_FIELD
def test_an_integer_may_be_spelled_with_a_fraction_of_zero(place: Place) -> None:
    for edge in [
        value for _, metas in members(place.annotation) for meta in metas for value in (meta.ge, meta.le)
    ]:
        if edge is not None:
            with_fraction = outcome(place.contract, place.given(**{place.key: float(edge)}))
            assert with_fraction == outcome(place.contract, place.given(**{place.key: edge}))


@EVERY_FIELD
def test_a_key_in_the_wrong_case_is_unknown_and_left_alone(place: Place) -> None:
    absent = outcome(place.contract, place.given())
    slips = {place.key.upper(), place.key.capitalize(), f"{place.key}s", f" {place.key}"}
    for key in slips - plan(place.contract.schema).keys():
        assert outcome(place.contract, place.given(**{key: object()})) == absent


@EVERY_FIELD
def test_a_choice_is_told_with_all_there_are(place: Place) -> None:
    if found := choices(place.annotation):
        _, message = outcome(place.contract, place.given(**{place.key: "no such choice"}))
        told = message.replace(",", "").split()
        assert [choice for choice in found if choice not in told] == []


@EVERY_FIELD
@pytest.mark.parametrize(
    "odd", ["٣", "K\u00fchlhaus", "ő\n", "\u200b", "\x7f\x1b[2J", "a\r\nb: c", "9" * 5000]
)
def test_a_text_in_any_letters_is_accepted_or_refused_and_nothing_else_is_raised(
    place: Place, odd: str
) -> None:
    found = outcome(place.contract, place.given(**{place.key: odd}))
    assert not isinstance(found, tuple) or found[0].startswith(place.contract.path)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-1, 300)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", " ", "\0", "\ud800", "a/#", "5", "://", "mqtt://[", "a:b@c", "{", "-----BEGIN", "%00"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def mappings(schema: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Any JSON values under the schema's own names, and others."""
    known = {
        name: JSON if field.section is None else JSON | mappings(field.section)
        for name, field in plan(schema).items()
    }
    others = st.dictionaries(st.text(max_size=8), JSON, max_size=2)
    return st.builds(lambda a, b: {**b, **a}, st.fixed_dictionaries({}, optional=known), others)


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
def test_any_json_is_accepted_or_refused_and_nothing_else_is_raised(contract: Contract) -> None:
    @given(mappings(contract.schema), st.booleans())
    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def holds(changes: Mapping[str, Any], from_good: bool) -> None:
        found = outcome(contract, {**contract.good, **changes} if from_good else dict(changes))
        if isinstance(found, tuple):
            field, message = found
            assert field.startswith(contract.path), found
            assert message

    holds()

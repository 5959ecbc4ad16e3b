"""The data types of data points, and which types of SMI (RFC 2578) fit each."""

from typing import Final, Literal

INTEGER: Final = 0x02
OCTETS: Final = 0x04
OID: Final = 0x06
IP_ADDRESS: Final = 0x40
COUNTER32: Final = 0x41
GAUGE: Final = 0x42
TIME_TICKS: Final = 0x43
OPAQUE: Final = 0x44
COUNTER64: Final = 0x46
UNSIGNED: Final = 0x47
"""Of an early version of SNMPv2, and still about."""

Kind = Literal[
    "integer",
    "unsigned",
    "counter32",
    "counter64",
    "gauge",
    "timeticks",
    "number",
    "float",
    "double",
    "boolean",
    "string",
    "octets-hex",
    "bits",
    "ipaddress",
    "oid",
    "opaque",
]

_SPELLINGS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("int", "int32", "integer32"), "integer"),
    **dict.fromkeys(("uint", "uint32", "unsigned32", "uinteger32"), "unsigned"),
    **dict.fromkeys(("counter",), "counter32"),
    **dict.fromkeys(("gauge32",), "gauge"),
    **dict.fromkeys(("ticks", "time-ticks", "time_ticks"), "timeticks"),
    **dict.fromkeys(("bool", "truthvalue"), "boolean"),
    **dict.fromkeys(("text", "displaystring", "octetstring", "octet-string"), "string"),
    **dict.fromkeys(("hex", "octets", "octets_hex", "mac", "physaddress"), "octets-hex"),
    **dict.fromkeys(("ip", "ip-address", "ip_address"), "ipaddress"),
    **dict.fromkeys(("objectid", "object-identifier", "objectidentifier"), "oid"),
}

WHOLE: Final = frozenset({INTEGER, COUNTER32, GAUGE, TIME_TICKS, COUNTER64, UNSIGNED})
"""The types of whole numbers."""

TAGS: Final[dict[str, frozenset[int]]] = {
    "integer": WHOLE,
    "unsigned": frozenset({GAUGE, UNSIGNED}),
    "counter32": frozenset({COUNTER32}),
    "counter64": frozenset({COUNTER64}),
    "gauge": frozenset({GAUGE, UNSIGNED}),
    "timeticks": frozenset({TIME_TICKS}),
    "number": WHOLE | {OPAQUE, OCTETS},
    "float": WHOLE | {OPAQUE, OCTETS},
    "double": WHOLE | {OPAQUE, OCTETS},
    "boolean": frozenset({INTEGER}),
    "string": frozenset({OCTETS}),
    "octets-hex": frozenset({OCTETS, OPAQUE}),
    "bits": frozenset({OCTETS}),
    "ipaddress": frozenset({IP_ADDRESS}),
    "oid": frozenset({OID}),
    "opaque": frozenset({OPAQUE}),
}
"""What an agent may answer where a data point says that type."""

NUMERIC: Final = frozenset(
    {"integer", "unsigned", "counter32", "counter64", "gauge", "timeticks", "number", "float", "double"}
)
INTEGERS: Final = frozenset({"integer", "unsigned", "counter32", "counter64", "gauge", "timeticks"})

SMALLEST: Final = {"integer": -(2**31)}
LARGEST: Final = {"integer": 2**31 - 1, "counter64": 2**64 - 1}
"""Of what is written; 0 to 2^32 - 1 where they say nothing."""

WRITTEN: Final[dict[str, int]] = {
    "integer": INTEGER,
    "unsigned": GAUGE,
    "counter32": COUNTER32,
    "counter64": COUNTER64,
    "gauge": GAUGE,
    "timeticks": TIME_TICKS,
    "boolean": INTEGER,
    "string": OCTETS,
    "octets-hex": OCTETS,
    "bits": OCTETS,
    "ipaddress": IP_ADDRESS,
    "oid": OID,
}
"""How a data type is written; the others are as the agent has them."""


def kind_of(name: str) -> str:
    """As it is called here, however it is spelled; one that is not known as it is."""
    word = name.strip().lower()
    return _SPELLINGS.get(word, word)

"""Numbers of BACnet (ASHRAE 135, clause 21) and their names, as clients may spell them."""

import re
from functools import cache
from typing import Final

_TYPE_NAMES: Final = """
analog-input analog-output analog-value binary-input binary-output binary-value calendar command device
event-enrollment file group loop multi-state-input multi-state-output notification-class program schedule
averaging multi-state-value trend-log life-safety-point life-safety-zone accumulator pulse-converter
event-log global-group trend-log-multiple load-control structured-view access-door timer
access-credential access-point access-rights access-user access-zone credential-data-input
network-security bitstring-value characterstring-value datepattern-value date-value datetimepattern-value
datetime-value integer-value large-analog-value octetstring-value positive-integer-value
timepattern-value time-value notification-forwarder alert-enrollment channel lighting-output
binary-lighting-output network-port elevator-group escalator lift staging audit-log audit-reporter
"""
OBJECT_TYPES: Final[dict[int, str]] = dict(enumerate(_TYPE_NAMES.split()))

_ABBREVIATED: Final = """
0 ai 1 ao 2 av 3 bi 4 bo 5 bv 8 dev 12 lp 13 mi 13 msi 14 mo 14 mso 15 nc 17 sch 19 mv 19 msv 20 tl 23 ac
40 csv 45 iv 46 lav 48 piv
"""

ANALOG: Final = frozenset({0, 1, 2, 46})
BINARY: Final = frozenset({3, 4, 5, 55})
MULTISTATE: Final = frozenset({13, 14, 19})
COMMANDABLE: Final = frozenset({1, 4, 14, 2, 5, 19, *range(39, 51), 30, 53, 54, 55})
"""Types whose present value may be commanded by priority; of values it depends on the object."""
WITH_UNITS: Final = frozenset({0, 1, 2, 12, 23, 24, 45, 46, 48})
"""Types that have the property units."""
INPUTS: Final = frozenset({0, 3, 13})
READABLE: Final = frozenset({0, 1, 2, 3, 4, 5, 12, 13, 14, 19, 21, 22, 23, 24, *range(39, 51), 54, 55})
"""Types whose present value is something to read."""

LAST_TYPE: Final = 1023
DEVICE: Final = 8
TREND_LOG: Final = 20
ANY_INSTANCE: Final = 4_194_303
"""As an instance: whichever it is (clause 12)."""

PRESENT_VALUE: Final = 85
STATUS_FLAGS: Final = 111
RELIABILITY: Final = 103
PRIORITY_ARRAY: Final = 87
UNITS: Final = 117
STATE_TEXT: Final = 110
MAX_APDU: Final = 62
OBJECT_NAME: Final = 77
OBJECT_LIST: Final = 76

_PROPERTIES: Final = """
0 acked-transitions 1 ack-required 2 action 3 action-text 4 active-text 6 alarm-value 7 alarm-values 10
apdu-segment-timeout 11 apdu-timeout 12 application-software-version 14 bias 15 change-of-state-count 16
change-of-state-time 17 notification-class 19 controlled-variable-reference 20 controlled-variable-units
21 controlled-variable-value 22 cov-increment 23 date-list 24 daylight-savings-status 25 deadband 26
derivative-constant 28 description 30 device-address-binding 31 device-type 32 effective-period 33
elapsed-active-time 34 error-limit 35 event-enable 36 event-state 37 event-type 38 exception-schedule 39
fault-values 40 feedback-value 42 file-size 43 file-type 44 firmware-revision 45 high-limit 46
inactive-text 47 in-process 49 integral-constant 52 limit-enable 56 local-date 57 local-time 58 location
59 low-limit 61 maximum-output 62 max-apdu-length-accepted 65 max-pres-value 66 minimum-off-time 67
minimum-on-time 68 minimum-output 69 min-pres-value 70 model-name 71 modification-date 72 notify-type 73
number-of-apdu-retries 74 number-of-states 75 object-identifier 76 object-list 77 object-name 79
object-type 81 out-of-service 82 output-units 84 polarity 85 present-value 86 priority 87 priority-array
88 priority-for-writing 90 program-change 92 program-state 93 proportional-constant 98 protocol-version
103 reliability 104 relinquish-default 106 resolution 107 segmentation-supported 108 setpoint 109
setpoint-reference 110 state-text 111 status-flags 112 system-status 113 time-delay 114
time-of-active-time-reset 115 time-of-state-count-reset 117 units 118 update-interval 119 utc-offset 120
vendor-identifier 121 vendor-name 123 weekly-schedule 124 attempted-samples 125 average-value 126
buffer-size 127 client-cov-increment 128 cov-resubscription-interval 131 log-buffer 132
log-device-object-property 133 enable 134 log-interval 135 maximum-value 136 minimum-value 139
protocol-revision 141 record-count 142 start-time 143 stop-time 144 stop-when-full 145 total-record-count
146 valid-samples 151 variance-value 152 active-cov-subscriptions 155 database-revision 160 mode 163
silenced 164 tracking-value 167 max-segments-accepted 168 profile-name 174 schedule-default 177 count 178
count-before-change 179 count-change-time 180 cov-period 182 limit-monitoring-interval 184 logging-record
185 prescale 186 pulse-rate 187 scale 188 scale-factor 189 update-time 190 value-before-change 191
value-set 192 value-change-time 196 last-restart-reason 197 logging-type 203 time-of-device-restart 218
requested-shed-level 231 door-status 371 property-list 372 serial-number 431 current-command-priority
"""


@cache
def properties() -> dict[int, str]:
    words = _PROPERTIES.split()
    return {int(number): name for number, name in zip(words[::2], words[1::2], strict=True)}


def type_name(number: int) -> str:
    """Of types that vendors have made, the number."""
    return OBJECT_TYPES.get(number, str(number))


def property_name(number: int) -> str:
    return properties().get(number, str(number))


def object_type(text: str) -> int:
    """`analog-input`, `analogInput`, `AI`, `0`. Raises `ValueError` saying what is wrong."""
    plain = _plain(text)
    if plain.isdecimal() and plain.isascii():
        number = int(plain[:10])
        if number > LAST_TYPE:
            raise ValueError("must be a number from 0 to 1023, or a name such as analog-input")
        return number
    found = _types().get(plain)
    if found is None:
        raise ValueError(
            f"{text!r} is no type of object such as analog-input, binary-value or multi-state-output"
        )
    return found


def property_number(text: str) -> int:
    """`present-value`, `presentValue`, `85`. Raises `ValueError` saying what is wrong."""
    plain = _plain(text)
    if plain.isdecimal() and plain.isascii():
        number = int(plain[:10])
        if number > 4_194_303:
            raise ValueError("must be a number from 0 to 4194303, or a name such as present-value")
        return number
    found = _by_plain_name().get(plain)
    if found is None:
        raise ValueError(f"{text!r} is no property known by name: give its number")
    return found


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]", "", text).lower()


@cache
def _types() -> dict[str, int]:
    words = _ABBREVIATED.split()
    short = {name: int(number) for number, name in zip(words[::2], words[1::2], strict=True)}
    return {_plain(name): number for number, name in OBJECT_TYPES.items()} | short


@cache
def _by_plain_name() -> dict[str, int]:
    return {_plain(name): number for number, name in properties().items()} | {"pv": PRESENT_VALUE}

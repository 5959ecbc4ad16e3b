"""Names and addresses of hosts, and nothing else that a library could take for one.

The library for names in other letters costs 2 MB; it is imported with the first of them.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_NAME = 253

_ADDRESS = "must be a host name or an address"
_TOO_LONG = f"{_ADDRESS} of at most {MAX_NAME} characters"
_URL = re.compile(r"[/\\?#@]")
_BLANK = re.compile(r"\s")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_DOTS = re.compile(r"[.\u3002\uff0e\uff61]")
_ZONE = re.compile(r"[A-Za-z0-9._~-]{1,64}")


def host_name(text: str) -> str:
    """The host name or IP address as the network knows it: a name in other letters becomes what IDNA makes of
    it. Raises `ValueError` with the rest of a sentence that begins with the field."""
    if _URL.search(text):
        raise ValueError(f"{_ADDRESS}, not a URL")
    if _BLANK.search(text):
        raise ValueError(f"{_ADDRESS}, without blanks")
    if "[" in text or "]" in text:
        raise ValueError(f"{_ADDRESS}, without brackets and without a port: use port")
    if text.count(":") == 1:
        raise ValueError(f"{_ADDRESS}, without a port: use port")
    return _ipv6(text) if ":" in text else _name(text)


def is_address(host: str) -> bool:
    """Whether a host that was checked is an IP address, and not a name."""
    return ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _ipv6(text: str) -> str:
    address, percent, zone = text.partition("%")
    try:
        IPv6Address(address)
    except AddressValueError:
        raise ValueError(f"{_ADDRESS}, and is not an IPv6 address") from None
    if percent and not _ZONE.fullmatch(zone):
        raise ValueError(f"{_ADDRESS}, and its zone is not the name of an interface")
    return text


def _name(text: str) -> str:
    if len(text) > MAX_NAME + 1:
        raise ValueError(_TOO_LONG)
    name = ".".join(_ascii(label) for label in _DOTS.split(text))
    labels = name.removesuffix(".").split(".")
    if len(name.removesuffix(".")) > MAX_NAME:
        raise ValueError(_TOO_LONG)
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{_ADDRESS}: letters, digits, hyphens and dots, at most 63 between two dots")
    # Resolvers take such a name for an address, also in forms that only they know: 127.1, 0x7f000001.
    if _NUMBER.fullmatch(labels[-1]) and not _is_ipv4(name):
        raise ValueError(f"{_ADDRESS}, and is not an IPv4 address of four numbers")
    return name


def _ascii(label: str) -> str:
    """What IDNA makes of a part of a name. One that is in ASCII already stays, if it can be read back."""
    if label.isascii() and not label.lower().startswith("xn--"):
        return label
    import idna

    try:
        if label.isascii():
            _read_back(label)
            return label
        return idna.alabel(idna.uts46_remap(label, std3_rules=False)).decode()
    except UnicodeError:
        raise ValueError(f"{_ADDRESS}, and cannot be read as an internationalised name") from None


def _read_back(label: str) -> None:
    """Raises `UnicodeError` for a label that neither of the two generations of IDNA has made; libraries choke
    on such."""
    import idna

    try:
        idna.ulabel(label.lower())
    except idna.IDNAError:
        label.lower().encode().decode("idna")


def _is_ipv4(name: str) -> bool:
    try:
        IPv4Address(name)
    except AddressValueError:
        return False
    return True

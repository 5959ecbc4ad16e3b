"""The libraries that the agent imports, and those that it would use if they were there."""

import re
import sys
from collections.abc import Iterator
from importlib import import_module, metadata

from api.cli.doctor.findings import Finding, ok, problem, warning

DISTRIBUTION = "callboard"
MODULES = {
    "backports.zstd": "backports.zstd",
    "influxdb-client": "influxdb_client",
    "protobuf": "google.protobuf",
    "pyjwt": "jwt",
    "pyserial": "serial",
    "sqlite-utils": "sqlite_utils",
    "argon2-cffi": "argon2",
    "prometheus-client": "prometheus_client",
}
"""What a distribution is imported as, where that is not its name."""

SERVES = {"amqtt": "callboard run --demo"}
"""What is not there when an optional one is missing."""


def check_libraries() -> Iterator[Finding]:
    check = "libraries"
    yield ok("python", sys.version.split()[0])
    try:
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        text = "the agent runs from a folder, not from an installation, so that nobody knows what it needs"
        yield warning(check, text, "pip install the agent")
        return
    sound = []
    for requirement in required:
        name, _, marker = (part.strip() for part in requirement.partition(";"))
        name = re.split(r"[\s<>=!~\[(]", name)[0]
        if "extra" in marker:
            if name in SERVES:
                yield from _optional(name)
        elif not _applies(marker):
            continue
        elif (finding := _broken(name)) is not None:
            yield finding
        else:
            sound.append(f"{name} {metadata.version(name)}")
    yield ok(check, f"{len(sound)} can be imported: {', '.join(sound)}")


def _applies(marker: str) -> bool:
    """Whether a requirement is one of this Python and system; the two kinds of marker that we have."""
    if version := re.search(r'python_version\s*<\s*"(\d+)\.(\d+)"', marker):
        return sys.version_info[:2] < (int(version[1]), int(version[2]))
    if system := re.search(r'sys_platform\s*!=\s*"(\w+)"', marker):
        return sys.platform != system[1]
    return True


def _broken(name: str) -> Finding | None:
    module = MODULES.get(name, name.replace("-", "_"))
    try:
        import_module(module)
        metadata.version(name)
    except Exception as error:  # noqa: BLE001 - a library of another machine's kind raises anything
        text = f"{name} cannot be imported: {type(error).__name__}: {error}"
        return problem("libraries", text, f"install it anew: pip install --force-reinstall {name}")
    return None


def _optional(name: str) -> Iterator[Finding]:
    try:
        yield ok("libraries", f"{name} {metadata.version(name)}, for {SERVES[name]}")
    except metadata.PackageNotFoundError:
        yield ok("libraries", f"{name} is not installed: without {SERVES[name]}")

"""What snmpd asks for values (its `pass_persist`): reads them from a file, and keeps those that are set."""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    base, directory = sys.argv[1], Path(sys.argv[2])
    while line := sys.stdin.readline().strip():
        if line == "PING":
            answer(["PONG"])
        elif line in ("get", "getnext"):
            name = below(base, sys.stdin.readline().strip())
            answer(found(base, directory, name, following=line == "getnext"))
        elif line == "set":
            name = below(base, sys.stdin.readline().strip())
            kind, _, value = sys.stdin.readline().strip().partition(" ")
            answer([put(directory, name, kind, value.strip('"'))])
        else:
            answer(["NONE"])


def answer(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def below(base: str, name: str) -> str:
    return name.lstrip(".").removeprefix(base).lstrip(".")


def load(directory: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((directory / "values.json").read_text())
    return found


def arcs(name: str) -> list[int]:
    return [int(part) for part in name.split(".") if part]


def found(base: str, directory: Path, name: str, following: bool) -> list[str]:
    values = load(directory)
    if following:
        later = sorted((one for one in values if arcs(one) > arcs(name)), key=arcs)
        if not later:
            return ["NONE"]
        name = later[0]
    if name not in values:
        return ["NONE"]
    kind, value = values[name]
    return [f".{base}.{name}", kind, value]


def put(directory: Path, name: str, kind: str, value: str) -> str:
    values = load(directory)
    if name not in values or (directory / "locked").exists():
        return "not-writable"
    if values[name][0] != kind:
        return "wrong-type"
    values[name] = [kind, value]
    draft = directory / "values.set"
    draft.write_text(json.dumps(values))
    os.replace(draft, directory / "values.json")
    with (directory / "written.jsonl").open("a") as log:
        log.write(json.dumps([name, kind, value]) + "\n")
    return "DONE"


if __name__ == "__main__":
    main()

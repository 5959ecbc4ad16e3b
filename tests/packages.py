"""Packages of other people, installed without a network: a directory with modules and a `.dist-info`."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from actors.endpoints import protocols
from actors.endpoints.third_party import GROUP


def install(
    directory: Path, package: str, entries: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> Path:
    """As pip would do: `entries` are `module:attribute` by protocol, `modules` are texts by name."""
    directory.mkdir(parents=True, exist_ok=True)
    about = directory / f"{package.replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in (modules or {}).items():
        (directory / f"{name}.py").write_text(text)
    return directory


@contextmanager
def on_path(directory: Path) -> Iterator[None]:
    """What is installed there can be imported by this process; nothing of it is left."""
    before = set(sys.modules)
    sys.path.insert(0, str(directory))
    protocols.forget()
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(directory)):
                del sys.modules[name]
        protocols.forget()

"""Addresses of supervised actors: the path of their names."""

from urllib.parse import quote

from thespian.actors import ActorAddress


def child_address(parent: ActorAddress | None, name: str) -> ActorAddress:
    """The address of the supervised actor `name` under `parent` (None: of a root), running or not."""
    return ActorAddress(f"{parent.addressDetails if parent else ''}/{quote(name, safe='')}")

"""Messages are to stay fit for travel between processes: a pickle of each is equal to it."""

import pickle
import pkgutil
import types
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from thespian.actors import ActorAddress

import actors
import api
from actors.state.messages import Transact
from actors.system.messages import ActorNode
from storage import database
from storage.errors import Duplicate

SAMPLES: dict[Any, Any] = {
    str: "text",
    int: 7,
    float: 0.5,
    bool: True,
    bytes: b"\x00\xff",
    msgspec.Raw: msgspec.Raw(b"{}"),
    type(None): None,
    msgspec.UnsetType: msgspec.UNSET,
    Path: Path("/var/lib/callboard"),
    ActorAddress: ActorAddress("/agent/endpoints"),
    Exception: Duplicate("endpoint", "plc"),
    Any: ("anything", 1, None),
}


def sample(hint: Any) -> Any:
    """A value of the type."""
    if hint in SAMPLES:
        return SAMPLES[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return sample(arguments[0])
    if origin is list:
        return [] if arguments[0] is ActorNode else [sample(arguments[0])]
    if origin in (tuple, Sequence):
        return tuple(sample(argument) for argument in arguments if argument is not Ellipsis)
    if origin in (dict, Mapping):
        return {sample(arguments[0]): sample(arguments[1])}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return example(hint)
    raise NotImplementedError(f"no sample of {hint}")


def example(message: type[msgspec.Struct]) -> msgspec.Struct:
    hints = get_type_hints(message)
    return message(**{name: sample(hints[name]) for name in message.__struct_fields__})


def messages() -> Iterator[type[msgspec.Struct]]:
    names = {module.name for module in pkgutil.walk_packages(actors.__path__, "actors.")}
    for name in sorted(names):
        if name.endswith(".messages") or name in ("actors.readings.batch", "actors.system.failure"):
            module = import_module(name)
            for value in vars(module).values():
                if getattr(value, "__module__", None) == name and hasattr(value, "__struct_fields__"):
                    yield value


@pytest.mark.parametrize("message", list(messages()), ids=lambda message: message.__name__)
def test_a_message_survives_pickling(message):
    original = example(message)
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is message
    for name in message.__struct_fields__:
        before, after = getattr(original, name), getattr(copy, name)
        if isinstance(before, Exception):
            assert (type(after), after.args, str(after)) == (type(before), before.args, str(before))
        else:
            assert after == before


def test_what_a_transaction_calls_survives_pickling():
    assert pickle.loads(pickle.dumps(Transact("token", database.ping))).call is database.ping


def test_names_of_messages_are_unique_for_actors_dispatch_on_them():
    names = [message.__name__ for message in messages()]
    assert len(names) > 40
    assert sorted(names) == sorted(set(names))


def test_no_two_structs_that_an_actor_could_take_for_one_another_share_a_name():
    handled: dict[str, set[str]] = {}
    structs: dict[str, set[str]] = {}
    for package in (actors, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, value in vars(import_module(module.name)).items():
                if not isinstance(value, type) or value.__module__ != module.name:
                    continue
                if issubclass(value, msgspec.Struct):
                    structs.setdefault(name, set()).add(module.name)
                for handler in vars(value):
                    if handler.startswith("receiveMsg_"):
                        handled.setdefault(handler.removeprefix("receiveMsg_"), set()).add(module.name)
    shared = {name: structs[name] for name in handled if len(structs.get(name, ())) > 1}
    assert shared == {}

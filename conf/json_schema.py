"""The JSON Schema of a struct that clients' input is read by (`conf.schema`), for who makes forms from it."""

from functools import cache
from typing import Any, Final

import msgspec

from conf.annotations import plan, required, said, types
from conf.fields import unused
from conf.schema import Nothing
from conf.secret_forms import names_secret

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@cache
def json_schema(schema: Any) -> dict[str, Any]:
    """Self-contained. What it allows may still be refused for what takes more than one field to see, or a
    reader to judge; what is read leniently (null, a number as text, another spelling of a key) it does not
    allow.

    `x-also` lists further names of a field, `format: password` marks secrets. Fields that clients send
    without effect are left out.
    """
    structs = _structs(schema, {})
    references, components = msgspec.json.schema_components(structs, ref_template="#/$defs/{name}")
    for struct, reference in zip(structs, references, strict=True):
        _complete(components[_name(reference)], struct)
    root = components.pop(_name(references[0]))
    root.pop("title", None)
    return {"$schema": DIALECT, **root, **({"$defs": components} if components else {})}


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")


def _structs(schema: Any, found: dict[Any, None]) -> list[Any]:
    """The struct, and those that are inside of it."""
    found[schema] = None
    for field in plan(schema).values():
        for below in (field.section, field.items):
            if below is not None and below not in found:
                _structs(below, found)
    return list(found)


def _complete(shown: dict[str, Any], struct: Any) -> None:
    if "description" in shown:
        shown["description"] = " ".join(shown["description"].split())
    if struct is Nothing:
        return
    properties = shown["properties"]
    for key, annotation in types(struct).items():
        if unused in (said(annotation, "reads") or ()):
            del properties[key]
        else:
            properties[key] = _field(properties[key], key, annotation)
    shown["required"] = [key for key in shown["required"] if not _may_lack(struct, key)]
    shown["additionalProperties"] = False


def _field(shown: dict[str, Any], key: str, annotation: Any) -> dict[str, Any]:
    if shown.get("default", shown) is None:
        del shown["default"]
    alternatives = [one for one in shown.get("anyOf", ()) if one != {"type": "null"}]
    if len(alternatives) == 1:
        del shown["anyOf"]
        shown = alternatives[0] | shown
    elif alternatives:
        shown["anyOf"] = alternatives
    if (also := said(annotation, "also")) is not None:
        shown["x-also"] = list(also)
    if (allowed := said(annotation, "allowed")) is not None:
        shown.setdefault("description", allowed)
    if names_secret(key) and shown.get("type") == "string":
        shown |= {"format": "password", "writeOnly": True}
    return shown


def _may_lack(struct: Any, key: str) -> bool:
    """A section that is not there is an empty one."""
    section = plan(struct)[key].section
    return section is not None and all(_may_lack(section, inner) for inner in required(section))

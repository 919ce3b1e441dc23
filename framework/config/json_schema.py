"""JSON Schemas (draft 2020-12) of the YAML files that a user writes: a preset of a group, and an experiment.

They are made of the same fields that the program checks, so that an editor complains about what a run would refuse. An
interpolation, `${seed}`, is valid everywhere: it can be judged only when a run resolves it. pydantic writes schemas
too, but it has no interpolations, takes the values of an enum and not its names, and would be a second reader of the
same types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import annotated_types

from framework.api.component import GROUPS, Group
from framework.api.fields import Field, Type, fields
from framework.api.schema import RunConfig
from framework.api.selection import as_plain

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
LATER: Schema = {"$ref": "#/$defs/later"}
DEFINITIONS: Schema = {
    "later": {
        "description": "An interpolation, or ??? if the value is to be set on the command line.",
        "type": "string",
        "pattern": r"\$\{|^\?\?\?$",
    },
    "defaults": {
        "description": "What this file is built on, in the order in which it is merged.",
        "type": "array",
        "items": {"type": ["string", "object"], "minProperties": 1, "maxProperties": 1},
    },
}
KINDS: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": ["string", "number"]},  # a text that looks like a number is read as a number, and taken as a text
    list: {"type": "array"},
    dict: {"type": "object"},
}
BOUNDS: dict[type, tuple[str, str]] = {
    annotated_types.Gt: ("exclusiveMinimum", "gt"),
    annotated_types.Ge: ("minimum", "ge"),
    annotated_types.Lt: ("exclusiveMaximum", "lt"),
    annotated_types.Le: ("maximum", "le"),
    annotated_types.MultipleOf: ("multipleOf", "multiple_of"),
    annotated_types.MinLen: ("min{}", "min_length"),
    annotated_types.MaxLen: ("max{}", "max_length"),
}
LENGTH = {str: "Length", list: "Items", dict: "Properties"}


def preset(group: Group, options: Mapping[str, type]) -> Schema:
    """Return the schema of a preset of a group: the settings of all its options, given by name."""
    names = ", ".join(options)
    return {
        "$schema": DRAFT,
        "title": f"A preset of {group.name}",
        "description": f"{_doc(group.base)} A preset is built on one of {names}.",
        "type": "object",
        "properties": {"defaults": {"$ref": "#/$defs/defaults"}, **_merge(options)},
        "additionalProperties": False,
        "$defs": DEFINITIONS,
    }


def experiment(options: Mapping[str, Mapping[str, type]]) -> Schema:
    """Return the schema of an experiment: the settings of a run, and those of each group below its name."""
    run_settings = {field.name: property_of([field]) for field in fields(RunConfig) if field.name not in GROUPS}
    groups = {name: _group(GROUPS[name], group_options) for name, group_options in options.items()}
    hydra = {"description": "Settings of Hydra itself.", "type": "object"}
    return {
        "$schema": DRAFT,
        "title": "An experiment",
        "description": "Chooses options in its defaults list, and changes their settings.",
        "type": "object",
        "properties": {"defaults": {"$ref": "#/$defs/defaults"}, "hydra": hydra, **run_settings, **groups},
        "additionalProperties": False,
        "$defs": DEFINITIONS,
    }


def _group(group: Group, options: Mapping[str, type]) -> Schema:
    """Return the settings of a group; those of several options are below the name of each, or of a preset."""
    settings = _settings(_merge(options))
    if group.several:
        properties = {
            name: {"description": _doc(schema), **_settings(_merge({name: schema}))} for name, schema in options.items()
        }
        settings = {"type": "object", "properties": properties, "additionalProperties": settings}
    return {"description": _doc(group.base), **settings}


def _settings(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _merge(options: Mapping[str, type]) -> Schema:
    """Return the properties of all options; one that several have takes what any of them takes."""
    by_name: dict[str, dict[str, Field]] = {}
    for name, schema in options.items():
        for field in fields(schema):
            by_name.setdefault(field.name, {})[name] = field
    return {
        name: property_of(list(field_by_option.values()), list(field_by_option))
        for name, field_by_option in by_name.items()
    }


def property_of(variants: list[Field], owners: Iterable[str] = ()) -> Schema:
    """Return the schema of a setting, of which several options may have one each: what it means and what it may be."""
    docs = {doc: owner for owner, doc in zip(owners, (field.doc for field in variants), strict=False)}
    texts = [f"{owner}: {doc}" for doc, owner in docs.items()] if len(docs) > 1 else [variants[0].doc]
    valid: list[Schema] = []
    for field in variants:
        valid += [part for part in alternatives(field.type) if part not in valid]
    about: Schema = {"description": "\n".join(texts)}
    about |= valid[0] if len(valid) == 1 else {"anyOf": valid}
    defaults = [as_plain(field.default) for field in variants]
    if not variants[0].required and all(default == defaults[0] for default in defaults):
        about["default"] = defaults[0]
    return about


def alternatives(declared: Type) -> list[Schema]:
    """Return what a value of a type may be; an empty schema takes everything."""
    if declared.choices:
        kind: Schema = {"enum": declared.choices}
    elif dataclasses.is_dataclass(declared.base):
        nested: Any = declared.base
        kind = _settings(_merge({"": nested}))
    else:
        kind = dict(KINDS.get(declared.base, {}))
    if declared.items:
        inner = alternatives(declared.items)
        below = inner[0] if len(inner) == 1 else {"anyOf": inner}
        kind["items" if declared.base is list else "additionalProperties"] = below
    for bound in declared.bounds:
        if type(bound) in BOUNDS:  # others are checked by the run only
            keyword, attribute = BOUNDS[type(bound)]
            kind[keyword.format(LENGTH.get(declared.base, ""))] = getattr(bound, attribute)
    takes_text = not kind or kind == KINDS[str]
    if declared.optional and kind:
        kind |= {"type": [*_listed(kind["type"]), "null"]} if "type" in kind else {"enum": [*kind["enum"], None]}
    word: list[Schema] = [{"const": declared.word}] if declared.word else []
    return [kind, *word, *([] if takes_text else [LATER])]


def _listed(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _doc(schema: type) -> str:
    return " ".join((schema.__doc__ or "").split())

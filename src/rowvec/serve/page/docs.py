"""The API's documentation, from its OpenAPI document: what a page needs to show it, without scripts from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

GROUPS = {"search": "Search", "embeddings": "Embeddings", "tasks": "Background work", "state": "Health and status"}
PER_PIPELINE = "/pipelines/{name}"
METHODS = ("get", "post", "put", "delete")


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: str
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    summary: str
    parameters: list[Field]
    body: list[Field]
    request: str | None
    """A call of it, for a shell."""
    reply: str | None
    """An example, as JSON."""
    answers: list[tuple[str, str]]
    """Status and what it means."""

    @property
    def anchor(self) -> str:
        return self.method.lower() + self.path.replace("/", "-").replace("{", "").replace("}", "")


def described(
    openapi: Mapping[str, Any], *, several: bool = False, keyed: bool = False
) -> list[tuple[str, list[Operation]]]:
    """Operations by group. Those of a named pipeline are left out where they only repeat the others.

    Args:
        several: there is more than one pipeline, so that examples must name one.
        keyed: the server has an API key, which examples must send.
    """
    schemas = openapi.get("components", {}).get("schemas", {})
    groups: dict[str, list[Operation]] = {title: [] for title in GROUPS.values()}
    for path, methods in openapi["paths"].items():
        if path.startswith(PER_PIPELINE):
            continue
        for method in METHODS:
            if method in methods:
                operation = methods[method]
                title = GROUPS[operation["tags"][0]]
                named = several and PER_PIPELINE + path in openapi["paths"]
                shell = Shell(PER_PIPELINE.replace("{name}", "$PIPELINE") if named else "", keyed)
                groups[title].append(_operation(method, path, operation, schemas, shell))
    return [(title, operations) for title, operations in groups.items() if operations]


class Shell(NamedTuple):
    """What every example for a shell has."""

    prefix: str
    keyed: bool

    def curl(self, words: str) -> str:
        key = '-H "Authorization: Bearer $KEY" ' if self.keyed else ""
        return f"curl -s {key}{words}"


def _operation(method: str, path: str, found: Mapping[str, Any], schemas: Mapping[str, Any], shell: Shell) -> Operation:
    parameters = [
        Field(each["name"], _kind(each["schema"], schemas), each.get("required", False), each.get("description", ""))
        for each in found.get("parameters", ())
    ]
    content = found.get("requestBody", {}).get("content", {}).get("application/json")
    body = _resolved(content["schema"], schemas) if content else {}
    fields = sorted(_fields(body, schemas), key=lambda field: not field.required)
    answers = [(status, answer["description"]) for status, answer in found["responses"].items()]
    return Operation(
        method.upper(), path, found.get("summary", ""), parameters, fields,
        _curl(method, path, body, parameters, shell), _reply(found["responses"].get("200", {})), answers,
    )  # fmt: skip


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schemas[reference.rsplit("/", 1)[1]] if reference else schema


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Field]:
    for name, value in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        texts = [each.get("description", "") for each in (value, *value.get("anyOf", ()))]
        yield Field(name, _kind(value, schemas), required, next(filter(None, texts), ""))


def _kind(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The type of a value in a few words: `integer, 1 to 1000, default 10`."""
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        kinds = (_kind(each, schemas) for each in schema["anyOf"] if each.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    words = [" or ".join(schema["enum"]) if "enum" in schema else schema.get("type", "any")]
    if schema.get("type") == "array":
        words = [f"list of {_kind(schema.get('items', {}), schemas)}"]
    if "minimum" in schema and "maximum" in schema:
        words.append(f"{schema['minimum']:,.0f} to {schema['maximum']:,.0f}")
    if "maxLength" in schema:
        words.append(f"at most {schema['maxLength']:,} characters")
    if schema.get("default") is not None:
        words.append(f"default {json.dumps(schema['default'])}")
    return ", ".join(words)


def _curl(method: str, path: str, body: Mapping[str, Any], parameters: list[Field], shell: Shell) -> str | None:
    path = shell.prefix + path
    if method == "post" and not body:
        return shell.curl(f'-X POST "$URL{path}"')
    if method == "post":
        example = body.get("example") or {
            name: value["examples"][0] for name, value in body.get("properties", {}).items() if value.get("examples")
        }
        return shell.curl(f'"$URL{path}"') + f" -H 'Content-Type: application/json' \\\n  -d '{json.dumps(example)}'"
    query = "?query=brake+pads" if any(each.name == "query" for each in parameters) else ""
    return shell.curl(f'"$URL{path.replace("{id}", "4711")}{query}"')


def _reply(answer: Mapping[str, Any]) -> str | None:
    example = answer.get("content", {}).get("application/json", {}).get("example")
    return None if example is None else json.dumps(example, indent=2)

"""Owns the configuration of a plugin: a pydantic model that yields the schema, the check and the table for the docs.

`PluginConfig` is subclassed by authors. The functions are called by the manager when a `Plugin` object is loaded, by
`plait plugin` for the README, and by the control plane, which checks `spec.config` before anything travels. They are no
methods, so that a field may have any name.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from plait_sdk.errors import ConfigError, closest


class PluginConfig(BaseModel):
    """The base of a plugin's configuration: fields with types, defaults and, by `pydantic.Field`, limits and a
    description.

    It is immutable, and a field that it does not have is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


Config = TypeVar("Config", bound=PluginConfig)


def read_config(plugin: str, model: type[Config], values: Mapping[str, Any] | None) -> Config:
    """The configuration that `spec.config` of a Plugin means.

    Raises:
        ConfigError: with each wrong field's path, what is wrong and, for an unknown one, what was probably meant.
    """
    try:
        return model.model_validate(dict(values or {}))
    except ValidationError as error:
        raise ConfigError(plugin, [_problem(model, each) for each in error.errors(include_url=False)]) from error


def config_schema(model: type[PluginConfig]) -> dict[str, Any]:
    """The JSON schema of `spec.config`, as the control plane and editors check it."""
    return model.model_json_schema()


def config_table(model: type[PluginConfig]) -> str:
    """The fields as a table in Markdown, for the plugin's README."""
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    schema = model.model_json_schema()
    properties = schema.get("properties", {})
    for name, field in model.model_fields.items():
        shown = properties.get(field.alias or name, {})
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        lines.append(f"| `{field.alias or name}` | {_type_of(shown, schema)} | {default} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _problem(model: type[PluginConfig], error: Any) -> tuple[str, str]:
    path = _path(error["loc"])
    if error["type"] != "extra_forbidden":
        return path, error["msg"]
    if len(error["loc"]) > 1:
        return path, "unknown field"
    known = [field.alias or name for name, field in model.model_fields.items()]
    hint = closest(str(error["loc"][-1]), known) or f"the fields are {', '.join(known) or 'none'}"
    return path, f"unknown field; {hint}"


def _path(location: tuple[str | int, ...]) -> str:
    told = ""
    for part in location:
        told += f"[{part}]" if isinstance(part, int) else f".{part}" if told else part
    return told


def _type_of(shown: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A JSON schema's type in a word or two."""
    if "$ref" in shown:
        return _type_of(schema.get("$defs", {}).get(shown["$ref"].rsplit("/", 1)[-1], {}), schema)
    if "anyOf" in shown:
        return " or ".join(_type_of(each, schema) for each in shown["anyOf"])
    if "enum" in shown:
        return " or ".join(f"`{each}`" for each in shown["enum"])
    if shown.get("type") == "array":
        return f"list of {_type_of(shown.get('items', {}), schema)}"
    return str(shown.get("type", "any"))


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)

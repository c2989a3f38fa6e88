"""The configuration of a plugin: what is refused, with which words; the schema and the table that it yields."""

from typing import Literal

import plait_sdk as plait
import pytest
from plait_sdk.config import config_schema, config_table, read_config
from pydantic import Field


class Route(plait.PluginConfig):
    weight: int = Field(ge=0)


class Config(plait.PluginConfig):
    header: str = Field("x-tenant", description="The header that is set.")
    mode: Literal["strict", "loose"] = "strict"
    routes: list[Route] = Field(default_factory=list)
    limit: int | None = None
    key: str = Field(alias="secretKey")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"secretKey": "k", "heder": "x"}, 'config.heder: unknown field; did you mean "header"?'),
        ({"secretKey": "k", "q": 1}, "config.q: unknown field; the fields are header, mode, routes, limit, secretKey"),
        ({}, "config.secretKey: Field required"),
        (
            {"secretKey": "k", "routes": [{"weight": 1}, {"weight": -1}]},
            "config.routes[1].weight: Input should be greater",
        ),
        ({"secretKey": "k", "routes": [{"weight": 1, "x": 1}]}, "config.routes[0].x: unknown field"),
        ({"secretKey": "k", "mode": "sloppy"}, "config.mode: Input should be 'strict' or 'loose'"),
    ],
)
def test_a_wrong_configuration_is_told_by_path(values: dict[str, object], told: str) -> None:
    with pytest.raises(plait.ConfigError) as refused:
        read_config("tenant", Config, values)
    assert str(refused.value).startswith("plugin tenant: ")
    assert told in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(plait.ConfigError) as refused:
        read_config("tenant", Config, {"header": 1, "mode": 2})
    assert [path for path, _ in refused.value.problems] == ["header", "mode", "secretKey"]


def test_a_configuration_is_read_and_cannot_be_changed() -> None:
    config = read_config("tenant", Config, {"secretKey": "k"})
    assert (config.header, config.key) == ("x-tenant", "k")
    with pytest.raises(ValueError, match="frozen"):
        config.header = "y"


def test_the_table_names_every_field_with_type_default_and_meaning() -> None:
    assert config_table(Config).splitlines() == [
        "| field | type | default | meaning |",
        "|---|---|---|---|",
        "| `header` | string | `x-tenant` | The header that is set. |",
        "| `mode` | `strict` or `loose` | `strict` |  |",
        "| `routes` | list of object | `[]` |  |",
        "| `limit` | integer or null | `none` |  |",
        "| `secretKey` | string | required |  |",
    ]


def test_the_schema_refuses_what_the_model_refuses() -> None:
    schema = config_schema(Config)
    assert (schema["additionalProperties"], schema["required"]) == (False, ["secretKey"])

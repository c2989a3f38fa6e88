"""The package as a mesh meets it: its README is true, and every body and header is survived."""

from pathlib import Path

from plait_sdk.config import config_table
from plait_sdk.testing.conformance import check_plugin
from plait_tenant_from_path import Config, TenantFromPath

HERE = Path(__file__).parent


def test_the_readme_tells_the_configuration() -> None:
    assert config_table(Config) in (HERE.parent / "README.md").read_text()


def test_it_keeps_what_every_plugin_must_keep() -> None:
    problems = [finding for finding in check_plugin(TenantFromPath, {"header": "x-tenant"}) if not finding.ok]
    assert not problems

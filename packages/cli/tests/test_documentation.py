"""The READMEs are true: every verb is named, every example of YAML is accepted."""

import re
from pathlib import Path

from plait_cli.main import VERBS
from plait_cli.verbs.lint import read

ROOT = Path(__file__).resolve().parents[3]


def test_every_verb_is_named_in_the_readme_of_the_command() -> None:
    text = (ROOT / "packages" / "cli" / "README.md").read_text()
    missing = [name for name, _, _ in VERBS if f"plait {name}" not in text]
    assert not missing


def test_the_yaml_of_the_readme_has_no_problem(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "shop.yaml").write_text(example)
    report = read(tmp_path)
    assert (report["problems"], report["objects"]) == ([], 3)

"""What a machine lacks is told with the way to get it, and what a command said is not lost."""

import pytest
from tools import Failed, Missing, require, run


def test_a_missing_command_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Missing) as told:
        require("docker", "kind")
    lines = str(told.value).splitlines()
    assert lines[0].startswith("docker is missing: install Docker Engine")
    assert lines[1].startswith("kind is missing: go install sigs.k8s.io/kind@")
    assert "integration/kind/image/README.md" in lines[2]


def test_a_command_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(Failed, match="sh -c echo gone >&2; exit 3 ended with 3: gone"):
        run("sh", "-c", "echo gone >&2; exit 3")
    with pytest.raises(Failed, match=r"sleep 60 did not end within 0\.1 s"):
        run("sleep", "60", seconds=0.1)
    assert run("cat", given="said") == "said"

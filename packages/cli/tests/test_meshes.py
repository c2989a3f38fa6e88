"""Finding the mesh that a verb is asked about."""

import json
from pathlib import Path

import pytest
from plait_cli.errors import UNREACHABLE, USAGE, Failure
from plait_cli.meshes import LONGEST_SOCKETS_FOLDER, find, place


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def up(name: str) -> None:
    place(name).record.write_text(json.dumps({"name": name}))


def test_none_is_up() -> None:
    with pytest.raises(Failure) as caught:
        find(None, None)
    assert caught.value.code == UNREACHABLE


def test_the_one_that_is_up_is_meant_and_with_several_the_choice_is_asked_for() -> None:
    with place("one").locked():
        up("one")
        assert find(None, None).name == "one"
        with place("two").locked():
            up("two")
            assert find("two", None).name == "two"
            with pytest.raises(Failure) as caught:
                find(None, None)
            assert (caught.value.code, caught.value.message) == (USAGE, "several meshes are up: one, two")
        assert find(None, None).name == "one"
    with pytest.raises(Failure):
        find("one", None)


def test_a_mesh_is_up_only_once() -> None:
    with place("one").locked(), pytest.raises(Failure, match="up already"), place("one").locked():
        raise AssertionError("locked twice")


def test_a_state_folder_names_its_mesh(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with place("shop", folder).locked():
        place("shop", folder).record.write_text('{"name": "shop"}')
        assert find(None, folder).name == "shop"
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_path_too_long_for_sockets_moves_them(tmp_path: Path) -> None:
    mesh = place("shop", tmp_path / ("x" * 120))
    assert len(str(mesh.sockets)) <= LONGEST_SOCKETS_FOLDER

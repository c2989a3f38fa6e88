"""YAML that is meant to hurt is refused soon."""

import pytest
from plait_controlplane.resources.document import documents


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(
            f"{x}: &{x} [{','.join(['*' + y] * 9)}]\n" for x, y in zip("bcdefgh", "abcdefg", strict=True)
        ), "aliases counted"),
        ("[" * 100 + "]" * 100, "nested deeper"),
        ("a: 1\na: 2\n", "comes twice"),
        ("a: [1\n", "not YAML"),
        ("<<: {a: 1}\n", "merge keys"),
        ("? [1]\n: 2\n", "a plain word"),
    ],
)  # fmt: skip
def test_it_is_refused_with_the_reason(text: str, reason: str) -> None:
    found, problems = documents("x.yaml", text)
    assert found == []
    assert reason in problems[0].message


def test_a_place_is_that_of_the_key_and_of_the_value() -> None:
    (document,), problems = documents("x.yaml", "a:\n  b: [1, 2]\n")
    assert problems == []
    assert document.place(("a", "b", 1)).value == (2, 10)
    assert document.place(("a", "b")).key == (2, 3)
    assert document.place(("a", "c", 3)).key == (1, 1), "what is absent stands where its surroundings do"

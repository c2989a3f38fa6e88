"""What is wrong with a plugin's class is told when it is registered: plugin, hook, file, line, and what was meant."""

from pathlib import Path
from types import ModuleType

import plait_sdk as plait
import pytest
from plait_sdk.definition import check

HERE = Path(__file__)

MISTAKES = {
    'there is no such hook\n  did you mean "on_request"?': """
    @plait.hookimpl
    def on_requst(self, request): ...
""",
    'there is no argument "req"\n  did you mean "request"?': """
    @plait.hookimpl
    def on_request(self, req): ...
""",
    "takes *args, which hides what it uses\n  its arguments are request": """
    @plait.hookimpl
    def on_request(self, *args): ...
""",
    "is a method without self\n  write def on_request(self, request)": """
    @plait.hookimpl
    def on_request(request): ...
""",
    "is the name of a hook but would never be called\n  put @plait.hookimpl above it": """
    def on_request(self, request): ...
""",
    "would never run\n  declare reads = plait.Reads(body=plait.buffer(65536))": """
    @plait.hookimpl
    def on_request_body(self, body): ...
""",
    "a wrapper is a generator": """
    @plait.hookimpl(wrapper=True)
    def on_request(self, request): ...
""",
    "yields, but is no wrapper": """
    @plait.hookimpl
    def on_request(self, request):
        yield
""",
    "takes the peer, which is not declared": """
    @plait.hookimpl
    def authorize(self, peer): ...
""",
    "has no hook": """
    def helper(self): ...
""",
    "is no plait.Reads": """
    reads = {"x-user"}
    @plait.hookimpl
    def on_request(self, request): ...
""",
}


def author(tmp_path: Path, body: str) -> type[plait.Plugin[plait.PluginConfig]]:
    """A class of an author's, in a file of its own."""
    path = tmp_path / "author.py"
    path.write_text(f"import plait_sdk as plait\n\nclass Mine(plait.Plugin[plait.PluginConfig]):\n{body}")
    module = ModuleType("author")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    made: type[plait.Plugin[plait.PluginConfig]] = module.__dict__["Mine"]
    return made


@pytest.mark.parametrize("told", MISTAKES, ids=lambda told: told.split("\n")[0])
def test_a_mistake_is_told(tmp_path: Path, told: str) -> None:
    with pytest.raises(plait.DefinitionError) as refused:
        check("shop/tenant", author(tmp_path, MISTAKES[told]))
    assert told in str(refused.value)
    assert "plugin shop/tenant, " in str(refused.value)


def test_a_mistake_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(plait.DefinitionError) as refused:
        check("shop/tenant", author(tmp_path, "\n\n    @plait.hookimpl\n    def on_requst(self): ...\n"))
    assert refused.value.place == f"{tmp_path / 'author.py'}:6"
    assert refused.value.hook == "on_requst"


def test_what_is_no_plugin_is_told() -> None:
    with pytest.raises(plait.DefinitionError, match=r"is no subclass of plait_sdk\.Plugin"):
        check("shop/tenant", int)  # type: ignore[arg-type]


def test_hooks_are_found_in_the_order_of_their_specification(tmp_path: Path) -> None:
    body = """
    @plait.hookimpl
    def on_complete(self): ...
    @plait.hookimpl
    async def on_request(self, request): ...
"""
    assert check("shop/tenant", author(tmp_path, body)) == ("on_request", "on_complete")

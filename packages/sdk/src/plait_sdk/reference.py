"""Owns the page `docs/reference/hooks.md`, made of the specifications; `python -m plait_sdk.reference` prints it."""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from plait_sdk.hookspecs import FAMILIES, HOOKS, NOT_CALLED, ORDER_IN_REQUEST, SPECS, arguments

HEAD = """# Hooks

What a plugin may implement: methods of a `plait_sdk.Plugin` that are marked `@plait.hookimpl`, all optional, `def` or
`async def`, with any of their arguments. Made by `python -m plait_sdk.reference` from
`packages/sdk/src/plait_sdk/hookspecs.py`. `docs/guide/plugins.md` leads from nothing to a plugin that is shipped.

- **Time.** All hooks of a phase share `limits.deadline` of the Plugin, 50 ms by default; then `onTimeout` answers and
  the hook is interrupted by `HookTimeout`. Hooks of the control plane have `deadline` of their entry in the file of
  `--hooks`, 2 s by default (`docs/guide/control-plane-plugins.md`).
- **Reading.** A hook sees what its plugin declares in `reads`, and changes what it declares in `writes`; anything else
  raises `UndeclaredError`.
- **Failing.** A hook that raises, or answers what it must not, is undone and handled by `onError`: `Open` goes on
  without it, `Closed` refuses the request.
- **Order.** In one crossing for a request the hooks of all plugins run as {order}.
  Within a hook plugins run in the order of their objects; `tryfirst`, `trylast` and `wrapper` of `hookimpl` refine it.

"""


def hooks_page() -> str:
    """The whole page."""
    text = HEAD.format(order=", ".join(f"`{hook}`" for hook in ORDER_IN_REQUEST))
    for family in FAMILIES:
        text += f"## {_title(family.__name__)}\n\n{inspect.getdoc(family)}\n\n"
        text += "".join(_section(name) for name in vars(family) if name in HOOKS)
    return text.rstrip() + "\n"


def _section(hook: str) -> str:
    spec, function = SPECS[hook], HOOKS[hook]
    documented, example = (inspect.getdoc(function) or "").split("Example:")
    intro, _, facts = documented.partition("\n\n")
    rows = [line.split(": ", 1) for line in re.sub(r"\n +", " ", facts).strip().splitlines()]
    rows.append(["Phase", f"`{spec.phase.name.lower()}`" if spec.phase else "none"])
    rows.append(["Several plugins", f"{spec.combine.value}."])
    if hook in NOT_CALLED:
        consequence = "is refused" if NOT_CALLED[hook] else "is told so in the proxy's log"
        rows.append(["Not called yet", f"by a mesh, only by the harness; a plugin that has it {consequence}."])
    table = "".join(f"- {name}: {text}\n" for name, text in rows)
    signature, code = _block(_signature(hook, function)), _block(inspect.cleandoc(example))
    return f"### `{hook}`\n\n{signature}\n{intro}\n\n{table}\n{code}\n"


def _block(code: str) -> str:
    return f"```python\n{code}\n```\n"


def _signature(hook: str, function: Callable[..., Any]) -> str:
    kinds = {name: _name(kind) for name, kind in inspect.get_annotations(function).items()}
    taken = ", ".join(["self", *(f"{name}: {kinds[name]}" for name in arguments(hook))])
    return f"def {hook}({taken}) -> {kinds['return']}"


def _name(kind: Any) -> str:
    """A type as an author writes it."""
    if kind is None:
        return "None"
    text = kind.__name__ if inspect.isclass(kind) and not getattr(kind, "__args__", ()) else str(kind)
    text = re.sub(r"(plait_sdk|collections|typing)(\.\w+)*\.(?=\w)", "", text)
    return text.replace("Continue | Reply | Deny", "Verdict").replace("NoneType", "None")


def _title(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()


if __name__ == "__main__":
    sys.stdout.write(hooks_page())

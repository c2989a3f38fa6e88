"""Owns what a hook may answer and what becomes of it: each answer is judged beside its hook, then made an effect.

Called by `dispatch`. An answer that is none is an error of the plugin that gave it, with what was expected in its text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plait_sdk.calls import Call, Channel
from plait_sdk.errors import UndeclaredError, closest
from plait_sdk.hookspecs import Combine
from plait_sdk.scope import Scope
from plait_sdk.verdict import Continue, Deny, Reply

VERDICTS = (Reply, Deny)


def judge(hook: str, combine: Combine, answer: Any, call: Call, scope: Scope) -> Any:
    """The answer, or None where it means nothing.

    Raises:
        TypeError, ValueError, UndeclaredError: it is no answer of that hook.
    """
    if answer is None or isinstance(answer, Continue):
        return None
    if isinstance(answer, VERDICTS):
        if combine is Combine.VERDICT or hook == "authenticate":
            return answer
        raise TypeError(f"{hook} answers no verdict, but {answer!r}")
    if combine is Combine.VERDICT:
        raise TypeError(f"{hook} answered {answer!r}; a verdict is plait.Continue, Reply, Deny or None")
    check = CHECKS.get(hook)
    if check is None:
        raise TypeError(f"{hook} answered {answer!r}; its answer is None")
    return check(hook, answer, call, scope)


def apply(hook: str, answer: Any, call: Call, channel: Channel, index: int) -> bool:
    """Makes an answer that was judged an effect of the plugin `index`; True when it ended the call."""
    if isinstance(answer, Reply):
        body = answer.body.encode() if isinstance(answer.body, str) else bytes(answer.body)
        headers = [(name.lower(), value) for name, value in answer.headers.items()]
        channel.reply(call, index, answer.status, headers, body)
        return True
    if isinstance(answer, Deny):
        channel.deny(call, index, answer.reason, answer.status)
        return True
    if answer is not None:
        EFFECTS[hook](call, answer)
    return False


def _claims(hook: str, answer: Any, call: Call, scope: Scope) -> str:
    if not isinstance(answer, Mapping):
        raise TypeError(f"authenticate answered {answer!r}; claims are a mapping, such as {{'sub': 'ada'}}")
    return json.dumps(dict(answer))


def _text(hook: str, answer: Any, call: Call, scope: Scope) -> str:
    if not isinstance(answer, str):
        raise TypeError(f"{hook} answered {answer!r}; a key is a text")
    return answer


def _backend(hook: str, answer: Any, call: Call, scope: Scope) -> str:
    if answer not in call.candidates:
        hint = closest(str(answer), call.candidates) or f"they are {', '.join(call.candidates)}"
        raise ValueError(f"choose_backend answered {answer!r}, which is no candidate: {hint}")
    return str(answer)


def _endpoints(hook: str, answer: Any, call: Call, scope: Scope) -> list[str]:
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise TypeError(f"rank_endpoints answered {answer!r}; it orders the list that it was given")
    strangers = [each for each in answer if each not in call.candidates]
    if strangers:
        raise ValueError(f"rank_endpoints answered {strangers[0]!r}, which it was not given")
    return list(answer)


def _flag(hook: str, answer: Any, call: Call, scope: Scope) -> bool:
    if not isinstance(answer, bool):
        raise TypeError(f"retry_decision answered {answer!r}; it is True, False or None")
    return answer


def _texts(hook: str, answer: Any, call: Call, scope: Scope) -> dict[str, str]:
    if not isinstance(answer, Mapping):
        raise TypeError(f"{hook} answered {answer!r}; it is a mapping from names to texts")
    if hook == "labels" and scope.write_labels is not None:
        for name in answer:
            if name not in scope.write_labels:
                raise UndeclaredError(f'the label "{name}" is not declared', f'add labels={{"{name}"}} to `writes`')
    return {str(name): str(value) for name, value in answer.items()}


def _each(method: str) -> Any:
    def set_each(call: Call, answer: Mapping[str, str]) -> None:
        setter = getattr(call, method)
        for name, value in answer.items():
            setter(name, value)

    return set_each


def _set_claims(call: Call, answer: str) -> None:
    call.claims = answer


CHECKS = {
    "authenticate": _claims,
    "rate_limit_key": _text,
    "choose_backend": _backend,
    "rank_endpoints": _endpoints,
    "retry_decision": _flag,
    "labels": _texts,
    "span_attributes": _texts,
    "metrics_tick": _texts,
}
"""What an answer that is no verdict must be."""

EFFECTS = {
    "authenticate": _set_claims,
    "rate_limit_key": lambda call, answer: call.set_key(answer),
    "choose_backend": lambda call, answer: call.choose(answer),
    "rank_endpoints": lambda call, answer: call.rank(answer),
    "retry_decision": lambda call, answer: call.set_retry(answer),
    "labels": _each("set_label"),
    "span_attributes": _each("set_span_attribute"),
    "metrics_tick": _each("set_label"),
}
"""What becomes of it."""

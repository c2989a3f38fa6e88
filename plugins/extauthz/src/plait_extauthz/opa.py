"""Asks Open Policy Agent by its data API: POST {"input": …}, {"result": …} decides. Undefined lets nothing through.

The result is true or false, or an object as OPA's Envoy plugin has it: `allowed`, `headers`, `http_status`, `body`, and
`response_headers_to_add` for a refusal.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from plait_extauthz.question import Answer, BadAnswer, Question, refusing


class Opa:
    """OPA behind the URL of a rule. Use: `ask`."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._client = httpx.AsyncClient(timeout=timeout_seconds, trust_env=False)
        self._url = url

    async def ask(self, question: Question) -> Answer:
        """The rule's result decides."""
        response = await self._client.post(self._url, json={"input": input_of(question)})
        response.raise_for_status()
        return answer_of(response.json().get("result"))


def input_of(question: Question) -> dict[str, Any]:
    """What the rule reads as `input`."""
    return {
        "method": question.method,
        "path": question.path,
        "parsed_path": [part for part in question.path.split("/") if part],
        "query": question.query,
        "host": question.authority,
        "scheme": question.scheme,
        "headers": dict(question.headers),
        "source": {"identity": question.identity, "address": question.address},
        "destination": {"service": question.service},
        "context": dict(question.context),
    }


def answer_of(result: Any) -> Answer:
    """What a result means."""
    if result is None or result is False:
        return Answer(False)
    if result is True:
        return Answer(True)
    if not isinstance(result, Mapping) or not isinstance(result.get("allowed"), bool):
        raise BadAnswer(f"the rule's result is true, false or an object with `allowed`, not {result!r:.200}")
    allows = result["allowed"]
    headers = _headers(result.get("headers" if allows else "response_headers_to_add") or {})
    if allows:
        return Answer(True, 200, headers)
    status, body = result.get("http_status", 403), result.get("body", "")
    if not isinstance(status, int) or not isinstance(body, str):
        raise BadAnswer(f"`http_status` is a number and `body` a text, not {status!r:.50} and {body!r:.50}")
    return Answer(False, refusing(status), headers or _headers(result.get("headers") or {}), body.encode())


def _headers(found: Any) -> list[tuple[str, str]]:
    if not isinstance(found, Mapping):
        raise BadAnswer(f"headers are an object of texts, not {found!r:.200}")
    return [
        (str(name), str(each))
        for name, value in found.items()
        for each in (value if isinstance(value, list) else [value])
    ]

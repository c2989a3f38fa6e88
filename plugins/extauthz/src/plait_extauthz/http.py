"""Asks over HTTP, as Envoy's HTTP service does: same method, same path below a prefix; 2xx lets the request through."""

import httpx

from plait_extauthz.question import Answer, Question, refusing

MOST_BODY = 16 * 1024
"""Bytes of a refusal that are passed on to the caller."""


class Http:
    """An authorizer behind a URL. Use: `ask`."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._client = httpx.AsyncClient(timeout=timeout_seconds, trust_env=False, follow_redirects=False)
        self._url = url.rstrip("/")

    async def ask(self, question: Question) -> Answer:
        """A status decides."""
        headers = {**question.headers, "host": question.authority, "x-forwarded-for": question.address}
        headers |= {"x-plait-identity": question.identity, "x-request-id": question.request_id}
        headers |= {f"x-context-{name}": value for name, value in question.context.items()}
        told = {name: value for name, value in headers.items() if value}
        response = await self._client.request(question.method, self._url + question.target, headers=told)
        answered: list[tuple[str, str]] = list(response.headers.multi_items())
        if response.is_success:
            return Answer(True, 200, answered)
        if response.status_code >= 500:
            # It broke: that is no decision.
            raise httpx.HTTPStatusError(
                f"{response.status_code} of {self._url}", request=response.request, response=response
            )
        return Answer(False, refusing(response.status_code), answered, response.content[:MOST_BODY])

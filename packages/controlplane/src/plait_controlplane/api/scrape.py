"""What the proxy of a pod counts, asked for at the port where any collector of metrics asks. Called by `view`."""

import asyncio

from plait_controlplane.api.answers import Unavailable

PORT = 15020
TIMEOUT_SECONDS = 5.0
# A proxy that knows a thousand destinations writes some megabytes.
LONGEST_BYTES = 32 * 1024 * 1024
MOST_AT_ONCE = 16


class Scraper:
    """Asks a bounded number of proxies at a time."""

    def __init__(self, port: int = PORT) -> None:
        self._port = port
        self._asking = asyncio.Semaphore(MOST_AT_ONCE)

    async def metrics(self, workload: str, address: str) -> str:
        """Prometheus text of the proxy of `workload` at the IP `address`; raises Unavailable."""
        import aiohttp  # late: most control planes on a machine are never asked

        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{self._port}/metrics"
        limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with (
                self._asking,
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                data = bytearray()
                async for chunk in answer.content.iter_any():
                    data += chunk
                    if len(data) > LONGEST_BYTES:
                        raise Unavailable(f"the proxy of {workload} says more than {LONGEST_BYTES} bytes")
                if answer.status != 200:
                    raise Unavailable(f"the proxy of {workload} answers {answer.status} at {url}")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"the proxy of {workload} does not answer at {url}: {why}") from error
        return data.decode(errors="replace")

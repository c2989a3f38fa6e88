"""A small run of the scale benchmark, for its books alone: who is concerned acks, the others hear the number."""

import at_scale
import world


async def test_a_small_run_gives_every_figure() -> None:
    figures = await at_scale.measure(services=12, proxies=24, changes=2)
    assert (figures.services, figures.endpoints, figures.proxies) == (12, 60, 24)
    # Ten of twelve destinations each, two proxies a Service: of the route in the middle not all know.
    assert 0 < figures.route_of_few < 24
    assert figures.route_of_all_ms > 0
    assert figures.route_of_all_bytes_a_proxy > 0
    assert figures.memory_mb > 0
    assert "12 Services, 60 endpoints, 24 proxies" in at_scale.report(figures)


def test_every_proxy_is_a_pod_of_its_own() -> None:
    names = {world.pod_name(number % 12, number // 12) for number in range(24)}
    pods = {item["metadata"]["name"] for item in world.objects(12) if item["kind"] == "Pod"}
    assert len(names) == 24
    assert names <= pods

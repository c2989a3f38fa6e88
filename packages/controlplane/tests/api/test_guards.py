"""Who gets through to the API of a cluster: tokens as an API server reviews them, over HTTP."""

from typing import Any

import httpx
import pytest
from objectstore import Object, ObjectStore, failure
from plait_controlplane.api.endpoints import create
from plait_controlplane.api.guards import AUDIENCE, HEADER, KEPT_SECONDS, MOST_KEPT, REVIEWS, VIEWER, Viewers
from still_view import Still

TOKEN = "a.viewers.token"


def vouched(**changed: Any) -> Object:
    return {"authenticated": True, "audiences": [AUDIENCE], "user": {"username": VIEWER}} | changed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Guarded:
    """The application before an API server that says `status` of every token."""

    def __init__(self, store: ObjectStore, viewers: Viewers) -> None:
        self.store = store
        self.reviewed: list[Object] = []
        self.says(vouched())
        transport = httpx.ASGITransport(create(Still(), viewers.guard, makes_tokens=False))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://plait")

    def says(self, status: Object) -> None:
        def review(body: Object) -> tuple[int, Object]:
            self.reviewed.append(body["spec"])
            return 201, {"status": status}

        self.store.answers[("POST", REVIEWS)] = review

    async def ask(self, shown: str | None = f"Bearer {TOKEN}", path: str = "/v1/mesh") -> httpx.Response:
        headers = {} if shown is None else {HEADER: shown}
        async with self.client as client:
            return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (vouched(), 200, "shop"),
        (vouched(authenticated=False, error="expired"), 401, "expired"),
        (vouched(authenticated="yes"), 401, "not authenticated"),
        (vouched(audiences=["https://kubernetes.default.svc"]), 401, "not authenticated"),
        (vouched(audiences=None), 401, "not authenticated"),
        (vouched(user={"username": "system:serviceaccount:shop:web"}), 401, "system:serviceaccount:shop:web may not"),
        (vouched(user={"username": f"{VIEWER}x"}), 401, "may not ask"),
        ({}, 401, "not authenticated"),
    ],
)
async def test_only_the_viewers_account_is_let_in(status: Object, code: int, words: str) -> None:
    store = ObjectStore()
    async with store.serve() as api:
        guarded = Guarded(store, Viewers(api))
        guarded.says(status)
        answer = await guarded.ask()
    assert (answer.status_code, words in answer.text) == (code, True), answer.text
    assert guarded.reviewed == [{"token": TOKEN, "audiences": [AUDIENCE]}]


@pytest.mark.parametrize(
    "shown", [None, "", TOKEN, "Bearer x", "Bearer a.b", f"Bearer {TOKEN} ", "Bearer " + "a.b." * 9000]
)
async def test_what_is_no_token_is_not_reviewed(shown: str | None) -> None:
    store = ObjectStore()
    async with store.serve() as api:
        guarded = Guarded(store, Viewers(api))
        assert (await guarded.ask(shown)).status_code == 401
    assert guarded.reviewed == []


async def test_while_the_api_server_is_away_nobody_is_let_in() -> None:
    store = ObjectStore()
    async with store.serve() as api:
        guarded = Guarded(store, Viewers(api))
        store.answers[("POST", REVIEWS)] = lambda _: failure(500, "InternalError", "etcd is away")
        answer = await guarded.ask()
    assert (answer.status_code, "etcd is away" in answer.text) == (503, True)


async def test_a_token_is_remembered_for_a_moment_and_a_refusal_never() -> None:
    store, clock = ObjectStore(), Clock()
    async with store.serve() as api:
        guarded = Guarded(store, viewers := Viewers(api, clock))
        assert [(await guarded.ask()).status_code for _ in range(1)] == [200]
        again = Guarded(store, viewers)
        again.says({"authenticated": False})
        assert (await again.ask()).status_code == 200
        clock.now += KEPT_SECONDS
        later = Guarded(store, viewers)
        later.says({"authenticated": False})
        assert (await later.ask()).status_code == 401
        assert (len(again.reviewed), len(later.reviewed)) == (0, 1)


async def test_no_more_tokens_are_remembered_than_there_is_room_for() -> None:
    store = ObjectStore()
    async with store.serve() as api:
        viewers = Viewers(api, Clock())
        for number in range(MOST_KEPT + 5):
            assert (await Guarded(store, viewers).ask(f"Bearer a.b.{number}")).status_code == 200
    assert len(viewers._let_in) == MOST_KEPT


async def test_whoever_looks_on_makes_no_join_tokens() -> None:
    store = ObjectStore()
    async with store.serve() as api:
        guarded = Guarded(store, Viewers(api))
        async with guarded.client as client:
            answer = await client.post(
                "/v1/join-tokens", json={"workload": "shop/web-1"}, headers={HEADER: f"Bearer {TOKEN}"}
            )
    assert answer.status_code == 404

"""What the guard lets through and what it stops, over a stand-in application that answers everything."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from components.guard import NoRelay


@pytest.fixture(scope="module")
def client():
    everything = Route("/{path:path}", lambda request: PlainTextResponse("relayed"))
    return TestClient(Starlette(routes=[everything], middleware=[Middleware(NoRelay)]))


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://example.org/a",
        "/gradio_api/file=HTTP://example.org/a",
        "/gradio_api/file=%68ttps://example.org/a",
        "/demo/gradio_api/file=https:/example.org/a",
        "/gradio_api/file/https://example.org/a",
        "/gradio_api/proxy=https://someone.hf.space/a",
    ],
)
def test_nothing_is_fetched_from_elsewhere_for_a_visitor(client, path):
    assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", ["/", "/gradio_api/file=/data/sessions/a/https.png", "/config", "/gradio_api/upload"])
def test_the_pages_own_routes_pass(client, path):
    assert client.get(path).text == "relayed"

"""A page that left ends its event stream without a trace; every other error stays one."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from components.leaving import QuietLeave


def client_of(error: Exception) -> TestClient:
    async def events() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        raise error

    route = Route("/{path:path}", lambda request: StreamingResponse(events()))
    return TestClient(Starlette(routes=[route], middleware=[Middleware(QuietLeave)]))


@pytest.mark.parametrize("error", [HTTPException(404), KeyError("a1")])
def test_an_event_stream_whose_page_is_gone_ends_in_silence(error: Exception) -> None:
    answer = client_of(error).get("/gradio_api/queue/data?session_hash=a1")
    assert (answer.status_code, answer.text) == (200, "data: 1\n\n")


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (HTTPException(404), "/gradio_api/upload_progress"),
        (HTTPException(500), "/gradio_api/queue/data"),
        (RuntimeError("x"), "/gradio_api/queue/data"),
        (KeyError("b2"), "/gradio_api/queue/data?session_hash=a1"),
        (KeyError("a1"), "/gradio_api/upload_progress?session_hash=a1"),
    ],
)
def test_every_other_error_behind_a_begun_response_is_raised(error: Exception, path: str) -> None:
    with pytest.raises((RuntimeError, KeyError)):
        client_of(error).get(path)

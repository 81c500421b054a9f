"""Keeps the log quiet about pages that leave while their reply is made; knows no session."""

from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class QuietLeave:
    """ASGI middleware that ends an event stream in silence when its page is gone.

    Of two streams that a leaving page has for a moment, Gradio drops what both read when the first one breaks off. The
    second then raises behind its begun response, which would stand in the log as a trace of eighty lines: a 404 when it
    looks for the next message, a KeyError when it breaks off too and wants to drop what is gone already.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except (RuntimeError, KeyError) as error:
            if not (has_begun and scope["path"].endswith("/queue/data") and _is_gone(scope, error)):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_gone(scope: Scope, error: RuntimeError | KeyError) -> bool:
    """The stream was not found, or the page's own name was not."""
    if isinstance(error, KeyError):
        return list(error.args) == parse_qs(scope["query_string"].decode("latin-1")).get("session_hash")
    return isinstance(error.__cause__, HTTPException) and error.__cause__.status_code == 404

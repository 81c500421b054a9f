"""Keeps the log quiet about pages that leave while their reply is made; knows no session."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class QuietLeave:
    """ASGI middleware that ends an event stream in silence when its page is gone.

    Of two streams that a leaving page has for a moment, Gradio drops what both read when the first one breaks off. The
    second then raises a 404 behind its begun response, which would stand in the log as a trace of eighty lines.
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
        except RuntimeError as error:
            cause = error.__cause__
            is_gone = isinstance(cause, HTTPException) and cause.status_code == 404
            if not (has_begun and is_gone and scope["path"].endswith("/queue/data")):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})

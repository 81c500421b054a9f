"""Refuses the routes by which Gradio would fetch from elsewhere on a visitor's word; knows no page."""

import re

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# `/gradio_api/file=https://...` streams any public address through this server, `/gradio_api/proxy=` other Spaces.
RELAY = re.compile(r"/(file=\s*https?:|file/\s*https?:|proxy=)", re.IGNORECASE)


class NoRelay:
    """ASGI middleware: 403 for a request that would be relayed, whatever the path in front."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and RELAY.search(scope["path"]):
            refused = PlainTextResponse("Only files of this page are served.", status_code=403)
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

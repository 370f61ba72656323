"""uvicorn's WebSockets, for many clients of which some never read."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

# In a scope's extensions: cuts the connection, whatever is still to be written.
ABORT = "ossa.abort"


class Sockets(WebSocketsSansIOProtocol):
    """As its base, but a client that does not take what it is sent can be cut off.

    To be given to uvicorn as `ws`. An orderly close waits until all is written, which to such a client never is.
    """

    def handle_connect(self, event: Request) -> None:
        """Give the application the means to cut the connection."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] = {**(self.scope["extensions"] or {}), ABORT: self.transport.abort}
            self.scope["extensions"] = extensions

    def keepalive_timeout(self) -> None:
        """Cut off whoever does not answer pings."""
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message: Any) -> None:
        """As its base; says alike that the client is gone, whichever side closed first."""
        await self.writable.wait()
        if self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        await super().send(message)
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

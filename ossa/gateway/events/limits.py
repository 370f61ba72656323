"""What bounds sockets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one replica. Times are in seconds."""

    sockets: int = 20_000  # in all
    sockets_a_user: int = 100
    unstarted: int = 500  # that have not said yet who they are
    start: float = 10.0  # for `start` to come
    queue: int = 512  # frames that wait for one client to read; more: it is closed, and may resume
    queue_bytes: int = 4 << 20  # likewise
    ring: int = 4096  # events kept in memory, at least
    page: int = 500  # events that a client which resumes is sent before others have their turn
    read: int = 1000  # events in one read of the stream
    heartbeat: float = 20.0
    recheck: float = 60.0  # between two looks at a socket's token and permission
    unknown: float = 300.0  # for which these may not be known, before the socket is closed
    close: float = 5.0  # for a client to take the close frame, before the connection is cut
    drain: float = 5.0  # over which the sockets of a replica that ends are closed
    snapshots: int = 8  # at once

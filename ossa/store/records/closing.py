"""Whether all that has to be known of an Execution is written down, so that it may be deleted."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from ossa.store.records.pool import Connection
from ossa.store.records.requests import open_among


async def closed(connection: Connection, executions: Mapping[str, str | None]) -> set[str]:
    """Those whose rows are closed: their end is recorded, and the request that made them is carried out.

    executions: id of the request by UID of the Execution; None where no request made it.
    """
    requests = {uid: _uuid(request) for uid, request in executions.items()}
    asked = [request for request in requests.values() if request is not None]
    still_open = await open_among(connection, asked)
    uids = [_uuid(uid) for uid, request in requests.items() if request not in still_open]
    rows = await connection.fetch("SELECT id FROM executions WHERE id = ANY($1) AND finished", uids)
    return {str(row["id"]) for row in rows}


def _uuid(text: str | None) -> uuid.UUID | None:
    """None for what no row can have."""
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None

"""Stands for election: takes a Lease and renews it, in threads of its own with a blocking client.

No event loop that is busy holds up a renewal, and no renewal that hangs holds up the end: a second thread looks at the
clock alone. A process that cannot say any more that the Lease is its own ends at once, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from ossa.api.base import JSONObject
from ossa.kube import paths
from ossa.kube.config import KubeConfig
from ossa.kube.errors import ApiError, Conflict, NotFound, error_from
from ossa.kube.lease import (
    PACE,
    Held,
    Pace,
    Seen,
    Step,
    acquired,
    decide,
    is_ours,
    new_lease,
    record_of,
    released,
    renewed,
    see,
)

log = logging.getLogger(__name__)

# Seconds that one request may take: a renewal can be tried twice before the time is over.
REQUEST_SECONDS = 3.0
# EX_TEMPFAIL: another process leads by now. What is started anew waits for its turn.
EXIT_LOST = 75


def clock() -> float:
    """Seconds that count while the process is stopped, and where the system can tell also while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def end_process(reason: str) -> None:
    """Ends it without any clean-up: whatever a clean-up would do is another process's part now."""
    log.critical("this process ends: %s", reason, extra={"exitCode": EXIT_LOST})
    os._exit(EXIT_LOST)


class LeaseClient:
    """One Lease, over one connection."""

    def __init__(self, config: KubeConfig, namespace: str, name: str) -> None:
        self.namespace, self.name = namespace, name
        self._config = config
        self._server = urlsplit(config.server)
        self._connection: http.client.HTTPConnection | None = None

    def read(self) -> JSONObject | None:
        """The Lease, None where there is none.

        Raises:
            ApiError: the API server refused, or did not answer.
        """
        try:
            return self._call("GET", paths.leases(self.namespace, self.name))
        except NotFound:
            return None

    def write(self, lease: Mapping[str, Any]) -> JSONObject:
        """Creates it, or replaces what was read; the Lease as it is then.

        Raises:
            Conflict: another process was faster.
            ApiError: as above. It may have been written all the same.
        """
        if "resourceVersion" in lease["metadata"]:
            return self._call("PUT", paths.leases(self.namespace, self.name), lease)
        return self._call("POST", paths.leases(self.namespace), lease)

    def close(self) -> None:
        """Drops the connection; the next request opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> JSONObject:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        token = self._config.token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection = self._connection = self._connection or self._connect()
            connection.request(
                method, self._server.path + path, orjson.dumps(body) if body is not None else None, headers
            )
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ApiError(0, "NoAnswer", f"{method} {path}: {error!r}") from error
        if response.status >= 400:
            raise error_from(response.status, answer)
        found: JSONObject = orjson.loads(answer)
        return found

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._server.hostname or "", self._server.port
        if self._server.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=REQUEST_SECONDS)
        context = self._config.ssl_context()
        return http.client.HTTPSConnection(host, port, timeout=REQUEST_SECONDS, context=context)


class Elector:
    """One process's part in an election.

    elected: the epoch, once this process leads.
    end: is called from any thread when it may lead no longer; does not return.
    """

    def __init__(
        self,
        client: LeaseClient,
        *,
        identity: str | None = None,
        pace: Pace = PACE,
        end: Callable[[str], None] = end_process,
    ) -> None:
        # A process that starts anew in the same pod is another one.
        self.identity = identity or f"{socket.gethostname()}_{uuid.uuid4()}"
        self.elected: Future[int] = Future()
        self.elected.set_running_or_notify_cancel()  # nobody who waits for it can cancel it
        self._client = client
        self._pace = pace
        self._end = end
        self._lease: JSONObject | None = None
        self._seen: Seen | None = None
        self._held: Held | None = None
        self._read_first = True
        self._answered = -pace.lease - clock()
        self._resigning, self._gone = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._guard = threading.Thread(target=self._watch_the_clock, name="lease-clock", daemon=True)

    def start(self) -> None:
        """Stands for election from now on."""
        self._guard.start()
        self._thread.start()

    def resign(self) -> None:
        """Releases the Lease if it is held, once nothing is done under it any more; waits for that."""
        self._resigning.set()
        if self._thread.is_alive():
            self._thread.join(2 * REQUEST_SECONDS)

    def in_touch(self) -> bool:
        """Whether the API server has answered lately, so that this process leads or would if it were its turn."""
        return clock() - self._answered < self._pace.lease

    def check(self) -> None:
        """Ends the process where the time of the Lease is over.

        What was stopped and goes on has all its threads go on at once: whoever is about to write asks first.
        """
        held = self._held
        if held is not None and clock() >= held.until:
            self._end(f"the Lease {self._client.name} was not renewed for {self._pace.hold:g} s")

    def _run(self) -> None:
        try:
            while not self._resigning.is_set():
                self._resigning.wait(self._turn())
            self._release()
        except Exception:
            log.exception("the lease's thread has failed")
            self._end("without that thread it cannot know whether it leads")
        finally:
            self._gone.set()
            self._client.close()

    def _turn(self) -> float:
        """One step; the seconds until the next one."""
        self.check()
        try:
            if self._read_first or self._seen is None:
                self._seen = self._see(self._client.read())
                self._read_first = False
            return self._carry_out(decide(self._seen, self._held, identity=self.identity, now=clock(), pace=self._pace))
        except Conflict:
            self._read_first = True
            return 0.0 if self._held is not None else self._pace.look
        except ApiError as error:
            log.warning("the Lease is not to be had", extra={"lease": self._client.name, "error": str(error)})
            self._read_first = True
            return self._pace.again

    def _carry_out(self, step: Step) -> float:
        match step:
            case Step.ACQUIRE:
                lease = self._lease or new_lease(self._client.namespace, self._client.name)
                epoch = self._write(acquired(lease, self.identity, datetime.now(UTC), pace=self._pace))
                self.check()
                log.info("leading", extra={"identity": self.identity, "epoch": epoch})
                self.elected.set_result(epoch)
            case Step.RENEW if self._lease is not None:
                self._write(renewed(self._lease, datetime.now(UTC)))
            case Step.LOST:
                record = self._seen.record if self._seen is not None else None
                self._end(f"the Lease {self._client.name} is another's: {record}")
            case _:
                self._read_first = True
                return self._pace.look
        return self._pace.renew

    def _write(self, lease: JSONObject) -> int:
        """Writes the Lease as ours; the epoch."""
        sent = clock()
        self._seen = self._see(self._client.write(lease))
        epoch = int(lease["spec"]["leaseTransitions"])
        # From when it was sent: others may have seen it then, and the answer may have come much later.
        self._held = Held(epoch, sent + self._pace.hold)
        return epoch

    def _see(self, lease: JSONObject | None) -> Seen:
        self._lease = lease
        self._answered = clock()
        return see(self._seen, lease, self._answered)

    def _release(self) -> None:
        held, lease = self._held, self._lease
        if held is not None and lease is not None and is_ours(record_of(lease), held, identity=self.identity):
            # It may be another's by now, or the API server away: then there is nothing to release.
            with contextlib.suppress(ApiError):
                self._client.write(released(lease, datetime.now(UTC)))
                log.info("the Lease is released", extra={"identity": self.identity, "epoch": held.epoch})
        self._held = None

    def _watch_the_clock(self) -> None:
        while not self._gone.is_set():
            self.check()
            held = self._held
            self._gone.wait(max(0.0, held.until - clock()) if held is not None else self._pace.look)

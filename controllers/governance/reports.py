"""Keeps the PolicyReports of what a scan has found. Where the cluster has no such kind, none are written."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable

import orjson

from controllers.announce import COMPONENT
from controllers.governance.scan import Scanner
from controllers.loop import Loop
from ossa.api.base import JSONObject
from ossa.api.contract import LABEL_MANAGED_BY, MANAGED_BY
from ossa.governance.findings import News, ReportKey
from ossa.governance.native import LABEL_POLICY
from ossa.governance.report import report_name, report_of
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound, Refused

log = logging.getLogger(__name__)

# Seconds that changes of a report wait for others; where only what keeps to the policy comes and goes, as runs do.
PAUSE, PASSES_PAUSE = 1.0, 30.0
# Seconds between two reports, and between two versions of one: one of a hundred results costs the API server 60 ms.
REST, INTERVAL = 0.05, 5.0
LOOK_SECONDS = 3600.0
PAGE = "20"
OURS = {"labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_POLICY}"}


class Reports:
    """One report a policy and namespace; what was written last is not written again."""

    def __init__(self, api: ApiClient, scanner: Scanner) -> None:
        self._api = api
        self._scanner = scanner
        self._written: dict[ReportKey, str] = {}  # digests; '' where one is there that this process did not write
        self._when: dict[ReportKey, float] = {}  # monotonic; it was written last
        self.loop: Loop[ReportKey] = Loop("PolicyReport", self.reconcile)
        scanner.reports = self.changed

    def changed(self, news: News) -> None:
        """Something else is found."""
        self._look_at(news.reports, PAUSE)
        self._look_at(news.passes, PASSES_PAUSE)

    def _look_at(self, keys: Iterable[ReportKey], pause: float) -> None:
        now = time.monotonic()
        for key in keys:
            least = self._when.get(key, now - INTERVAL) + INTERVAL - now
            self.loop.queue.add_after(key, max(least, pause if key in self._written else PAUSE))

    async def reconcile(self, key: ReportKey) -> None:
        """Brings a report to what was found."""
        name, namespace = key
        if not self._scanner.begun:
            self.loop.queue.add_after(key, PAUSE)  # what was written before a restart stays until it is known better
            return
        policy, found = self._scanner.policy(name), list(self._scanner.findings.of(key))
        path = paths.reports(namespace, report_name(name))
        if policy is None or not found:
            if key in self._written:
                await self._remove(path)
                self._written.pop(key, None)
                self._when.pop(key, None)
            return
        report = report_of(policy, namespace, found)
        digest = hashlib.sha256(orjson.dumps(report, option=orjson.OPT_SORT_KEYS)).hexdigest()
        if self._written.get(key) == digest:
            return
        try:
            await self._api.apply(path, report, manager=COMPONENT)
        except NotFound:
            return  # the kind is not installed, or the namespace has just gone
        except Refused as error:
            if "is being terminated" in error.message:
                return
            raise
        self._written[key], self._when[key] = digest, time.monotonic()
        await asyncio.sleep(REST)

    async def watch(self) -> None:
        """Now and then writes all anew, for what somebody else has changed, and removes what is left of policies.

        Runs until cancelled.
        """
        while True:
            try:
                self._written = dict.fromkeys(await self._listed(), "")
                self._look_at(list(self._written), PAUSE)
            except NotFound:
                log.info("no PolicyReports are written: their kind (wgpolicyk8s.io/v1alpha2) is not installed")
            except ApiError as error:
                log.warning("cannot read PolicyReports", extra={"error": str(error)[:500]})
            await asyncio.sleep(LOOK_SECONDS)

    async def _listed(self) -> list[ReportKey]:
        """Those that are there. Page by page: all of them may take more memory than all else."""
        found: list[ReportKey] = []
        more: dict[str, str] = {}
        while True:
            page = await self._api.get(paths.reports(), {**OURS, "limit": PAGE, **more})
            found += [key for item in page.get("items") or [] if (key := _key(item))[0]]
            token = page["metadata"].get("continue")
            if not token:
                return found
            more = {"continue": token}

    async def _remove(self, path: str) -> None:
        try:
            await self._api.delete(path)
        except NotFound:
            return


def _key(item: JSONObject) -> ReportKey:
    metadata = item["metadata"]
    owner = next(
        (str(one["name"]) for one in metadata.get("ownerReferences") or [] if one["kind"] == "AgentPolicy"), ""
    )
    return owner, str(metadata["namespace"])

"""Carries faults out, and notes what was done to whom."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hack.up import daemons
from hack.up.steps import Failure
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError
from tests.bench.errors import BenchError
from tests.chaos.answers import Rates
from tests.chaos.node import FakeNode
from tests.chaos.observer import Executions, Pods
from tests.chaos.plan import Fault
from tests.chaos.records import FaultLog, Finding
from tests.chaos.replicas import STOP_SECONDS, Replica

JSONObject = dict[str, Any]

API_SERVER = "kube-apiserver"
# After SIGCONT: what a process had sent before it was stopped is long through, and what it sends now shows.
LATE_SECONDS = 5.0
LED_SECONDS = 12.0
EVICTING = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
TRUST_SECONDS = 30.0


def no_api_server() -> str | None:
    """Why the API server cannot be restarted here; None where it can."""
    if daemons.running(API_SERVER):
        return None
    return "the cluster is not the one that this checkout runs as processes of this machine"


@dataclass(slots=True)
class Faults:
    """What can be done to a cluster, its reconcilers, its pods and its node that comes and goes."""

    admin: ApiClient
    namespace: str
    replicas: Sequence[Replica]
    node: FakeNode
    pods: Pods
    executions: Executions
    log: FaultLog
    rates: Rates
    _stopped: set[int] = field(default_factory=set)

    async def inject(self, fault: Fault) -> None:
        """Does it, and returns when it is over."""
        handlers: dict[str, Callable[[Fault], Awaitable[str | None]]] = {
            "leader-killed": self._leader_killed,
            "standby-killed": self._standby_killed,
            "leader-stopped": self._leader_stopped,
            "leader-paused": self._leader_stopped,
            "leader-terminated": self._leader_terminated,
            "leader-cut-off": self._leader_cut_off,
            "apiserver-restarted": self._api_server_restarted,
            "pod-deleted": self._pod_deleted,
            "pod-deleted-by-force": self._pod_deleted,
            "finished-pod-deleted": self._finished_pod_deleted,
            "answers-storm": self._storm,
            "watches-closed": self._watches_ended,
            "watches-expired": self._watches_ended,
            "clock-stepped": self._clock_stepped,
            "node-not-ready": self._node_not_ready,
            "node-silent": self._node_silent,
            "node-removed": self._node_removed,
        }
        what = await handlers[fault.kind](fault)
        if what is not None:
            self.log.note(fault.kind, what)

    async def repair(self) -> None:
        """Takes everything back that lasts."""
        for replica in self.replicas:
            replica.step_clock(0.0)
            replica.proxy.cut_off = False
            replica.signal(signal.SIGCONT)
        await self.node.come_back()

    # --- reconcilers ----------------------------------------------------------------------------------------

    def _leader(self) -> Replica | None:
        held = max(self.replicas, key=lambda replica: replica.proxy.led_at)
        fresh = time.monotonic() - held.proxy.led_at < LED_SECONDS
        return held if fresh and held.pid is not None and held.pid not in self._stopped else None

    def _standby(self) -> Replica | None:
        leader = self._leader()
        others = [r for r in self.replicas if r is not leader and r.pid is not None and r.pid not in self._stopped]
        return others[0] if others else None

    async def _leader_killed(self, _: Fault) -> str | None:
        return self._signalled(self._leader(), signal.SIGKILL)

    async def _standby_killed(self, _: Fault) -> str | None:
        return self._signalled(self._standby(), signal.SIGKILL)

    def _signalled(self, replica: Replica | None, number: signal.Signals) -> str | None:
        pid = replica.signal(number) if replica is not None else None
        return f"{replica.name} (pid {pid})" if replica is not None and pid is not None else None

    async def _leader_terminated(self, _: Fault) -> str | None:
        replica = self._leader()
        what, pid = self._signalled(replica, signal.SIGTERM), replica.pid if replica is not None else None
        if replica is not None and pid is not None and not await replica.ends(pid, STOP_SECONDS):
            self._finds("SIGTERM is not obeyed", replica.name, f"it ends within {STOP_SECONDS:.0f} s", "it runs on")
            replica.signal(signal.SIGKILL)
        return what

    async def _leader_stopped(self, fault: Fault) -> str | None:
        """Longer than the Lease, or only for a while."""
        replica = self._leader()
        pid = replica.signal(signal.SIGSTOP) if replica is not None else None
        if replica is None or pid is None:
            return None
        self._stopped.add(pid)
        await asyncio.sleep(fault.seconds)
        self._stopped.discard(pid)
        woken = time.monotonic()
        if replica.pid == pid:
            replica.signal(signal.SIGCONT)
        if fault.kind == "leader-stopped":
            await self._acts_no_more(replica, pid, woken)
        return f"{replica.name} (pid {pid}) for {fault.seconds:.1f} s"

    async def _acts_no_more(self, replica: Replica, pid: int, woken: float) -> None:
        """It wakes up when its time is over: from then on nothing that it writes but another bid for the Lease."""
        ended = await replica.ends(pid, LATE_SECONDS)
        until = time.monotonic()
        if replica.proxy.led_at > woken:
            return  # it stood for election anew, or the next life of it did
        late = [what for at, what in list(replica.proxy.writes) if woken < at <= until]
        if late:
            how = "and then ended" if ended else "and runs on"
            self._finds("a late leader acts", replica.name, "it writes nothing", f"{late[:5]} {how}")

    async def _leader_cut_off(self, fault: Fault) -> str | None:
        replica = self._leader()
        if replica is None:
            return None
        replica.proxy.cut_off = True
        replica.proxy.end_watches(expired=False)
        self.log.leaders.append(time.monotonic())
        await asyncio.sleep(fault.seconds)
        replica.proxy.cut_off = False
        return f"{replica.name} for {fault.seconds:.1f} s"

    async def _clock_stepped(self, fault: Fault) -> str | None:
        leader, standby = self._leader(), self._standby()
        value = 0.0 if fault.pick > 0.8 else fault.value
        chosen = self.replicas if fault.pick < 0.5 else [r for r in (leader, standby) if r is not None][:1]
        for replica in chosen:
            replica.step_clock(value)
        return f"{', '.join(replica.name for replica in chosen)} to {value:+.0f} s" if chosen else None

    # --- the API server -------------------------------------------------------------------------------------

    async def _api_server_restarted(self, fault: Fault) -> str | None:
        number = signal.SIGKILL if fault.pick < 0.6 else signal.SIGTERM
        try:
            await asyncio.to_thread(daemons.restart, API_SERVER, number)
        except Failure as error:
            raise BenchError(str(error)) from error
        self.log.leaders.append(time.monotonic())
        return f"by {number.name}"

    async def _storm(self, fault: Fault) -> str | None:
        for replica in self.replicas:
            replica.proxy.rates = self.rates.storm()
        await asyncio.sleep(fault.seconds)
        for replica in self.replicas:
            replica.proxy.rates = self.rates
        return f"for {fault.seconds:.1f} s"

    async def _watches_ended(self, fault: Fault) -> str | None:
        expired = fault.kind == "watches-expired"
        count = sum(replica.proxy.end_watches(expired=expired) for replica in self.replicas)
        return f"{count} watches" if count else None

    # --- pods and their node --------------------------------------------------------------------------------

    async def _pod_deleted(self, fault: Fault) -> str | None:
        by_force = fault.kind == "pod-deleted-by-force"
        return await self._delete(_picked(self.pods.of_phase("Pending", "Running"), fault.pick), by_force=by_force)

    async def _finished_pod_deleted(self, fault: Fault) -> str | None:
        """The one that ended last may not be recorded yet; of others only an Execution that runs may care."""
        open_ = {held.uid for held in self.executions.unfinished()}
        ended = self.pods.of_phase("Succeeded", "Failed")
        mine = [uid for uid in ended if uid in self.pods.seen and self.pods.seen[uid].execution_uid in open_]
        return await self._delete(_picked(mine or ended, fault.pick), by_force=False)

    async def _delete(self, uid: str | None, *, by_force: bool) -> str | None:
        item = self.pods.there.get(uid) if uid is not None else None
        if item is None or uid is None:
            return None
        name, phase = item["metadata"]["name"], (item.get("status") or {}).get("phase")
        # Before it is sent: what comes of it may be seen before the answer.
        self.log.took(uid, at_once=by_force)
        options: JSONObject = {"preconditions": {"uid": uid}, **({"gracePeriodSeconds": 0} if by_force else {})}
        try:
            await self.admin.delete(paths.core("pods", self.namespace, name), body=options)
        except ApiError:
            return None
        return f"{name} ({phase})"

    async def _node_not_ready(self, fault: Fault) -> str | None:
        """It says itself that it is not ready; its pods are evicted."""
        self.node.trouble_begins()
        self._takes_pods(at_once=False)
        await self.node.say_ready(ready=False)
        await asyncio.sleep(fault.seconds)
        await self.node.say_ready(ready=True)
        await self._trusted_again()
        self._takes_pods(at_once=False)
        return f"{self.node.name} for {fault.seconds:.0f} s"

    async def _node_silent(self, fault: Fault) -> str | None:
        """Nothing is heard of it, its pods run on and are evicted meanwhile, and it comes back."""
        self.node.trouble_begins()
        self._takes_pods(at_once=False)
        self.node.vanish()
        await asyncio.sleep(fault.seconds)
        await self.node.come_back()
        await self._trusted_again()
        self._takes_pods(at_once=False)
        return f"{self.node.name} for {fault.seconds:.0f} s"

    async def _node_removed(self, fault: Fault) -> str | None:
        """Its object is deleted: whoever does that says that nothing runs there any more."""
        self.node.trouble_begins()
        self.node.vanish()
        self._takes_pods(at_once=True)
        try:
            await self.admin.delete(paths.core("nodes", name=self.node.name))
        except ApiError:
            await self.node.come_back()
            return None
        await asyncio.sleep(fault.seconds)
        self._takes_pods(at_once=True)
        await self.node.come_back()
        return f"{self.node.name} for {fault.seconds:.0f} s"

    async def _trusted_again(self) -> None:
        """Until nothing is evicted from the node any more: new pods come to it some seconds before that."""
        until = time.monotonic() + TRUST_SECONDS
        while time.monotonic() < until:
            with suppress(ApiError):
                node = await self.admin.get(paths.core("nodes", name=self.node.name))
                taints = node["spec"].get("taints") or []
                if not any(taint["key"] in EVICTING for taint in taints):
                    return
            await asyncio.sleep(0.5)

    def _takes_pods(self, *, at_once: bool) -> None:
        for uid in self.node.exposed():
            self.log.took(uid, at_once=at_once)

    def _finds(self, rule: str, where: str, want: str, found: str) -> None:
        self.log.findings.append(Finding(rule, where, want, found, time.monotonic()))


def _picked(uids: Sequence[str], pick: float) -> str | None:
    return uids[int(pick * len(uids))] if uids else None

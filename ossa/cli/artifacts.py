"""Reads artifacts through the API server's proxy, as a service account that may."""

from __future__ import annotations

from dataclasses import dataclass

from ossa.api.artifact import ArtifactRef
from ossa.api.contract import ARTIFACTS_AUDIENCE, EXECUTION_ARTIFACTS_PATH
from ossa.api.problem import problem_detail
from ossa.cli.outcome import Stop
from ossa.cli.session import Session
from ossa.kube.errors import ApiError
from ossa.kube.paths import core

TOKEN_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Source:
    """Where the artifact service is, and as whom it is read."""

    system_namespace: str
    service_account: str


class Reader:
    """The artifacts of one Execution, by its UID."""

    def __init__(self, session: Session, source: Source, uid: str) -> None:
        self._session = session
        self._source = source
        self._path = EXECUTION_ARTIFACTS_PATH.format(namespace=session.namespace, uid=uid)
        self._token: str | None = None

    async def read(self, ref: ArtifactRef, where: str) -> bytes:
        """The content of a reference that stands at `where`. Raises Stop where it is not what the reference says."""
        content = await self._fetch(f"{self._path}/{ref.id}")
        if not ref.describes(content):
            raise Stop(
                f"{where}: the size or digest of what the artifact service gave is not that of the reference; "
                "it was not written"
            )
        return content

    async def _fetch(self, path: str) -> bytes:
        service = core("services", self._source.system_namespace, "http:ossa-artifacts:8080", "proxy") + path
        # The proxy keeps the Authorization header to itself, so the token travels in one of its own.
        headers = {"X-Ossa-Token": await self._with_token()}
        try:
            return b"".join([part async for part in self._session.api.stream(service, headers=headers)])
        except ApiError as error:
            advice = ""
            if error.status == 403:
                advice = f". Service account '{self._source.service_account}' needs the ClusterRole ossa-view"
            if error.status in (404, 503):
                advice = f". Is the artifact service up? kubectl -n {self._source.system_namespace} get pods"
            words = problem_detail(error.message).rstrip(".")
            raise Stop(f"The artifact service did not give the artifact ({error.status}): {words}{advice}") from error

    async def _with_token(self) -> str:
        """A short-lived token of the service account that is good for the artifact service alone; asked for once."""
        if self._token is not None:
            return self._token
        account = self._source.service_account
        path = core("serviceaccounts", self._session.namespace, account, "token")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [ARTIFACTS_AUDIENCE], "expirationSeconds": TOKEN_SECONDS},
        }
        try:
            answer = await self._session.api.post(path, body)
        except ApiError as error:
            if error.status != 404:
                raise
            raise Stop(
                f"Service account '{account}' was not found in namespace '{self._session.namespace}'. Make one "
                f"that has the ClusterRole ossa-view (as manifests/samples/30-report-reader.yaml does), or name "
                f"another with --as-service-account"
            ) from error
        self._token = str(answer["status"]["token"])
        return self._token

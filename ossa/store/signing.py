"""The IDs of artifacts: random, and signed for the pod that wrote the artifact.

An ID is 16 random bytes and 16 bytes of HMAC-SHA256 in base64url: 43 characters. The signature covers who
wrote it (namespace, execution, pod) and what was written (size, digest, media type), so whoever holds the
key can tell, without asking the service, whether a reference was issued to a given pod and still says
what it said then.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ossa.api.artifact import ArtifactRef
from ossa.api.base import JSONObject
from ossa.engine.values import NotJSONError, plain

NONCE_SIZE = 16
KEY_MIN_SIZE = 32
_MAC_SIZE = 16
_PURPOSE = "ossa artifact v1"
_SEAL_PURPOSE = "ossa inputs v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """The pod that wrote an artifact, and what it ran for. The operator itself has a constant in place of a UID."""

    namespace: str
    execution_uid: str
    pod_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildInputs:
    """A child Execution whose inputs may refer to artifacts of its parent.

    identity: the annotation that says which attempt of which task of which Execution it is, as it stands.
    """

    namespace: str
    name: str
    identity: str
    workflow: str
    inputs: JSONObject


class KeyUnusable(ValueError):
    """The signing key is missing or too short; the message says where it was looked for."""


def load_key(path: str | Path) -> bytes:
    """The key of the file at `path`, at least 32 bytes, taken as they are. Raises KeyUnusable."""
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise KeyUnusable(f"the signing key at {path} cannot be read: {error.strerror}") from error
    if len(key) < KEY_MIN_SIZE:
        raise KeyUnusable(f"the signing key at {path} has {len(key)} bytes; give it at least {KEY_MIN_SIZE}")
    return key


def nonce_of(artifact_id: str) -> bytes | None:
    """The random part of an ID, which names the stored object; None where this is no ID at all."""
    decoded = _decoded(artifact_id)
    return None if decoded is None else decoded[:NONCE_SIZE]


class Signer:
    """Issues IDs and tells whether one was issued. Pure: the same arguments give the same ID."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_MIN_SIZE:
            raise KeyUnusable(f"the signing key has {len(key)} bytes; give it at least {KEY_MIN_SIZE}")
        self._key = key

    def issue(self, writer: Writer, *, nonce: bytes, size: int, sha256: str, media_type: str) -> ArtifactRef:
        """The reference to what the pod wrote. `nonce`: 16 random bytes; `size` in bytes; `sha256` in hex."""
        if len(nonce) != NONCE_SIZE:
            raise ValueError(f"nonce has {len(nonce)} bytes instead of {NONCE_SIZE}")
        mac = self._mac(writer, nonce, [size, sha256, media_type])
        text = base64.urlsafe_b64encode(nonce + mac).rstrip(b"=").decode("ascii")
        return ArtifactRef(id=text, size=size, sha256=sha256, media_type=media_type)

    def verify(self, ref: ArtifactRef, *, namespace: str, execution_uid: str, pod_uid: str) -> bool:
        """Whether this very reference was issued to this pod of this execution."""
        decoded = _decoded(ref.id)
        if decoded is None:
            return False
        nonce, mac = decoded[:NONCE_SIZE], decoded[NONCE_SIZE:]
        writer = Writer(namespace=namespace, execution_uid=execution_uid, pod_uid=pod_uid)
        return hmac.compare_digest(mac, self._mac(writer, nonce, [ref.size, ref.sha256, ref.media_type]))

    def seal(self, child: ChildInputs) -> str:
        """Proves that the operator made this child with these inputs."""
        about = [child.namespace, child.name, child.identity, child.workflow, plain(child.inputs, sort_keys=True)]
        message = json.dumps([_SEAL_PURPOSE, *about]).encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def is_seal(self, seal: str, child: ChildInputs) -> bool:
        """Whether this is the seal of that child with those inputs."""
        try:
            return hmac.compare_digest(seal.encode(), self.seal(child).encode())
        except NotJSONError:
            return False

    def _mac(self, writer: Writer, nonce: bytes, content: Sequence[str | int]) -> bytes:
        # JSON keeps the parts apart: no two lists give the same text.
        about = [writer.namespace, writer.execution_uid, writer.pod_uid, *content]
        message = json.dumps([_PURPOSE, nonce.hex(), *about]).encode()
        return hmac.new(self._key, message, hashlib.sha256).digest()[:_MAC_SIZE]


def _decoded(artifact_id: str) -> bytes | None:
    try:
        decoded = base64.b64decode(artifact_id + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(decoded) != NONCE_SIZE + _MAC_SIZE:
        return None
    # One ID has one spelling: the last character carries two bits that decoding ignores.
    spelled = base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii")
    return decoded if spelled == artifact_id else None

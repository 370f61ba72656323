"""Heads: signed statements of how far a chain had come, and the keys that sign and prove them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ossa.audit.chain import HASH, MOST, VERSION, Chain, canonical

# Signed with the statement, so that no signature made for something else passes as one of a head.
_DOMAIN = b"ossa audit head\n"
_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


class BadKey(ValueError):
    """A key cannot be used; the message says which and why."""


class Head(BaseModel):
    """A chain had come to `seq` with `hash`, says who holds the key. closed: its writer ended it in order."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: int = VERSION
    writer: str
    epoch: str
    seq: int = Field(ge=0, le=MOST)
    hash: str = Field(pattern=HASH)
    time: AwareDatetime
    closed: bool = False
    key: str = Field(description="Id of the key that signed it.")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$", description="Ed25519, in hex.")

    def statement(self) -> bytes:
        """What is signed."""
        return _DOMAIN + canonical(self.model_dump(mode="json", exclude={"signature"})).encode()

    @property
    def text(self) -> str:
        """As it is stored."""
        return canonical(self.model_dump(mode="json"))


class Signer:
    """Signs heads. Its repr says nothing of the key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.id = key_id(key.public_key())

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Of a PEM file as `openssl genpkey -algorithm ed25519` writes it. Raises BadKey."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadKey(f"{path} is no private key in PEM that can be read: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKey(f"{path} holds a key of another kind; make one with openssl genpkey -algorithm ed25519")
        return cls(key)

    @property
    def public(self) -> Ed25519PublicKey:
        """What proves its signatures."""
        return self._key.public_key()

    def sign(self, chain: Chain, now: datetime, *, closed: bool = False) -> Head:
        """The head of a chain as it stands."""
        said = {
            "version": VERSION,
            "writer": chain.writer,
            "epoch": chain.epoch,
            "seq": chain.seq,
            "hash": chain.hash,
            "time": now,
            "closed": closed,
            "key": self.id,
        }
        unsigned = Head.model_validate({**said, "signature": "0" * 128})
        return unsigned.model_copy(update={"signature": self._key.sign(unsigned.statement()).hex()})


class Keys:
    """The public keys that prove heads, by their ids: the present one and those before it."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys: Mapping[str, Ed25519PublicKey] = {key_id(key): key for key in keys}

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Of a file with public keys in PEM, one after another; of a folder all its files. Raises BadKey."""
        try:
            files = sorted(held for held in path.iterdir() if held.is_file()) if path.is_dir() else [path]
            texts = [held.read_text(encoding="utf-8") for held in files]
        except (OSError, UnicodeDecodeError) as error:
            raise BadKey(f"{path} cannot be read: {error}") from error
        found = [key for text in texts for key in _public_keys(text, path)]
        if not found:
            raise BadKey(f"{path} holds no public key in PEM; openssl pkey -in KEY -pubout writes one")
        return cls(found)

    @property
    def ids(self) -> frozenset[str]:
        """Of all that are there."""
        return frozenset(self._keys)

    def proves(self, head: Head) -> bool:
        """Whether one of the keys signed it."""
        key = self._keys.get(head.key)
        if key is None:
            return False
        try:
            key.verify(bytes.fromhex(head.signature), head.statement())
        except InvalidSignature:
            return False
        return True


def key_id(key: Ed25519PublicKey) -> str:
    """The id of a key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _public_keys(text: str, path: Path) -> Iterable[Ed25519PublicKey]:
    for part in text.split(_BEGIN)[1:]:
        pem = f"{_BEGIN}{part.partition(_END)[0]}{_END}\n"
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKey(f"{path} holds a public key that cannot be read: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise BadKey(f"{path} holds a public key of another kind than Ed25519")
        yield key

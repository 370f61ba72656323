"""The key of the installation's Secret, and what is derived from it."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LEAST = 32  # bytes
_NONCE = 12


class SecretUnusable(ValueError):
    """The key file is not there, not readable, or too short."""


class Unsealable(ValueError):
    """What was to be opened was sealed with another key, for something else, or changed since."""


class Secret:
    """One key; each use has a key of its own, derived by HKDF."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _LEAST:
            raise SecretUnusable(f"the key has {len(key)} bytes; it must have at least {_LEAST} random ones")
        self._key = key
        self.id = self._derive("id").hex()[:16]  # says which key it is, and nothing about it

    @classmethod
    def load(cls, path: Path) -> Secret:
        """From a file. Raises SecretUnusable, which names it."""
        try:
            return cls(path.read_bytes())
        except (OSError, SecretUnusable) as error:
            raise SecretUnusable(f"{path}: {error}") from error

    def __repr__(self) -> str:
        return f"Secret({self.id})"

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        """AES-256-GCM: nonce, ciphertext, tag. Opens for the same purpose alone."""
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._derive("seal")).encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, *, purpose: str) -> bytes:
        """What was sealed. Raises Unsealable."""
        try:
            return AESGCM(self._derive("seal")).decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise Unsealable(f"not sealed with the key {self.id} for {purpose}") from error

    def successor(self, token: str) -> str:
        """The refresh token after `token`: the same each time, and nobody else can tell it."""
        return hmac.new(self._derive("refresh"), token.encode(), hashlib.sha256).hexdigest()

    def _derive(self, use: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=f"ossa gateway {use}".encode()).derive(self._key)

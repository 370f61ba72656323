"""IDs of artifacts: what is issued verifies, and nothing else does."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ossa.api.artifact import ArtifactRef
from ossa.store.signing import ChildInputs, KeyUnusable, Signer, Writer, load_key, nonce_of

KEY = b"k" * 32
NONCE = bytes(range(16))
WRITER = {"namespace": "lab", "execution_uid": "e-1", "pod_uid": "p-1"}


def issue(signer: Signer | None = None) -> ArtifactRef:
    return (signer or Signer(KEY)).issue(
        Writer(**WRITER), nonce=NONCE, size=3, sha256="ab" * 32, media_type="application/json"
    )


def test_what_was_issued_verifies() -> None:
    ref = issue()
    assert Signer(KEY).verify(ref, **WRITER)
    assert nonce_of(ref.id) == NONCE
    assert len(ref.id) == 43


@pytest.mark.parametrize("changed", ["namespace", "execution_uid", "pod_uid"])
def test_another_writer_does_not_verify(changed: str) -> None:
    assert not Signer(KEY).verify(issue(), **(WRITER | {changed: "other"}))


@pytest.mark.parametrize("changed", [{"size": 4}, {"sha256": "cd" * 32}, {"media_type": "text/plain"}])
def test_a_changed_reference_does_not_verify(changed: dict[str, object]) -> None:
    assert not Signer(KEY).verify(issue().model_copy(update=changed), **WRITER)


def test_another_key_does_not_verify() -> None:
    assert not Signer(b"x" * 32).verify(issue(), **WRITER)


def test_parts_cannot_be_moved_between_fields() -> None:
    ref = Signer(KEY).issue(
        Writer(namespace="a", execution_uid="b,c", pod_uid="d"),
        nonce=NONCE,
        size=1,
        sha256="0" * 64,
        media_type="t/t",
    )
    assert not Signer(KEY).verify(ref, namespace="a,b", execution_uid="c", pod_uid="d")


@pytest.mark.parametrize("text", ["", "x", "../../etc/passwd", "é" * 43, "A" * 44, "A" * 42, "A" * 43 + "="])
def test_what_is_no_id(text: str) -> None:
    assert nonce_of(text) is None


def test_an_id_has_one_spelling() -> None:
    ref = issue()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = ref.id[:-1] + alphabet[alphabet.index(ref.id[-1]) ^ 1]
    assert nonce_of(twin) is None
    assert not Signer(KEY).verify(ref.model_copy(update={"id": twin}), **WRITER)


def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = os.urandom(40)
    path.write_bytes(key)
    assert load_key(path) == key


def test_a_short_or_missing_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(KeyUnusable, match="cannot be read"):
        load_key(path)
    path.write_bytes(b"short")
    with pytest.raises(KeyUnusable, match="at least 32"):
        load_key(path)
    with pytest.raises(KeyUnusable, match="at least 32"):
        Signer(b"short")


CHILD = ChildInputs(
    namespace="lab",
    name="run-call-1",
    identity='{"uid": "e-1"}',
    workflow="inner",
    inputs={"rows": {"$artifact": "x"}, "n": 2, "deep": [{"a": None, "b": 0.5}]},
)


def test_a_seal_is_that_of_one_child() -> None:
    seal = Signer(KEY).seal(CHILD)
    assert Signer(KEY).is_seal(seal, CHILD)
    # As the API server gives it back.
    told = {"deep": [{"b": 0.5, "a": None}], "n": 2.0, "rows": {"$artifact": "x"}}
    assert Signer(KEY).is_seal(seal, replace(CHILD, inputs=told))
    assert not Signer(b"x" * 32).is_seal(seal, CHILD)
    assert not Signer(KEY).is_seal("", CHILD)
    assert not Signer(KEY).is_seal("ü", CHILD)


CHILDREN = {
    "namespace": replace(CHILD, namespace="other"),
    "name": replace(CHILD, name="other"),
    "identity": replace(CHILD, identity="other"),
    "workflow": replace(CHILD, workflow="other"),
}


@pytest.mark.parametrize("field", CHILDREN)
def test_a_seal_is_of_no_other_child(field: str) -> None:
    assert not Signer(KEY).is_seal(Signer(KEY).seal(CHILD), CHILDREN[field])


@pytest.mark.parametrize(
    "inputs",
    [{}, {**CHILD.inputs, "more": 1}, {**CHILD.inputs, "rows": {"$artifact": "y"}}, {"n": float("inf")}],
)
def test_a_seal_is_of_no_other_inputs(inputs: dict[str, Any]) -> None:
    assert not Signer(KEY).is_seal(Signer(KEY).seal(CHILD), replace(CHILD, inputs=inputs))

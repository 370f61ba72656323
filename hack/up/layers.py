"""Single layers out of buildah's store.

`buildah push` reads and hashes every layer, half a GiB for a change of a few lines of code. The store keeps what is
needed to write one layer alone, byte for byte: its files, and in a "tar-split" all that stood between them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
from pathlib import Path

from .base import STORE


class UnknownStoreError(Exception):
    """The store does not look as this version of the program knows it."""


def export(image_id: str, folder: Path, present: set[str]) -> bytes:
    """Write an image's configuration and its layers that are not `present` into a folder; answers its manifest."""
    try:
        image = STORE / "overlay-images" / image_id
        content = (image / "manifest").read_bytes()
        manifest = json.loads(content)
        configuration = manifest["config"]["digest"]
        name = "=" + base64.b64encode(configuration.encode()).decode()
        shutil.copyfile(image / name, folder / configuration.removeprefix("sha256:"))
        records = json.loads((STORE / "overlay-layers" / "layers.json").read_text())
        ids = {record.get("diff-digest"): record["id"] for record in records}
        for layer in manifest["layers"]:
            if layer["digest"] not in present:
                _write(ids[layer["digest"]], folder / layer["digest"].removeprefix("sha256:"))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UnknownStoreError(str(error)) from error
    return content


def _write(layer_id: str, target: Path) -> None:
    files = STORE / "overlay" / layer_id / "diff"
    digest = hashlib.sha256()
    with gzip.open(STORE / "overlay-layers" / f"{layer_id}.tar-split.gz", "rt") as parts, target.open("wb") as tar:
        for line in parts:
            part = json.loads(line)
            if part["type"] == 2:  # what stands between files: headers and padding
                chunk = base64.b64decode(part.get("payload") or "")
            else:
                chunk = (files / part["name"]).read_bytes() if part.get("size") else b""
            digest.update(chunk)
            tar.write(chunk)
    if digest.hexdigest() != target.name:
        raise ValueError(f"layer {layer_id} is not what its digest says")

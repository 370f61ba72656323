"""A CustomResourceDefinition, as an object and as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ossa.api.base import JSONObject
from ossa.api.contract import GROUP, VERSION
from ossa.api.crds.kinds import KINDS, Kind
from ossa.api.crds.structural import structural

GENERATED = "# Generated from ossa/api by `python -m ossa.api.crds`; a test fails when they drift.\n"


def crd(kind: Kind) -> JSONObject:
    """The CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            # Deleting a CRD deletes every object of its kind: that is never a by-product of `helm uninstall`.
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/part-of": "ossa"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["ossa"],
            },
            "scope": kind.scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.to_json() for column in kind.columns],
                    "schema": {"openAPIV3Schema": structural(kind.model)},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def render(kind: Kind) -> str:
    """The CRD as YAML."""
    text = yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return GENERATED + text


def file_name(kind: Kind) -> str:
    return f"{GROUP}_{kind.plural}.yaml"


def write(folder: Path) -> None:
    """Write one file a kind into `folder`, which is made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / file_name(kind)).write_text(render(kind), encoding="utf-8")

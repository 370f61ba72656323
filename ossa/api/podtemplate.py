"""What an agent may not ask of its pods: the parts that are the operator's, and shapes that no pod has."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from ossa.api.agent import PodTemplate
from ossa.api.base import JSONObject
from ossa.api.contract import GROUP, LABEL_MANAGED_BY

RESERVED_KEY_PREFIX = f"{GROUP}/"
RESERVED_VOLUME_PREFIX = "ossa-"
RESERVED_FOLDER = "/ossa"


def pod_template_problems(template: PodTemplate, where: str) -> list[str]:
    """What is wrong with a pod template; each text begins with a path, and `where` is the template's own."""
    problems: list[str] = []
    if template.metadata is not None:
        problems += _reserved_keys(template.metadata.labels or {}, f"{where}.metadata.labels")
        problems += _reserved_keys(template.metadata.annotations or {}, f"{where}.metadata.annotations")
    if template.spec is not None:
        problems += _spec_problems(template.spec, f"{where}.spec")
    return problems


def _reserved_keys(pairs: Mapping[str, str], where: str) -> Iterator[str]:
    for key in pairs:
        if key.startswith(RESERVED_KEY_PREFIX) or key == LABEL_MANAGED_BY:
            yield f"{where}[{key!r}]: is written by the operator alone; use a key of your own"


def _spec_problems(spec: JSONObject, where: str) -> Iterator[str]:
    for field in ("serviceAccountName", "serviceAccount"):
        if field in spec:
            yield f"{where}.{field}: may not be set here; set spec.runtime.serviceAccountName instead"
    yield from _shape_problems(spec, where, lists=("volumes", "containers", "initContainers"))
    for path, volume in _named(spec, "volumes", where):
        if volume["name"].startswith(RESERVED_VOLUME_PREFIX):
            yield (
                f"{path}.name: volumes whose names begin with {RESERVED_VOLUME_PREFIX!r} are the operator's; "
                "use another name"
            )
    for field in ("containers", "initContainers"):
        for path, container in _named(spec, field, where):
            yield from _container_problems(container, path)


def _container_problems(container: JSONObject, where: str) -> Iterator[str]:
    yield from _shape_problems(container, where, lists=("env", "volumeMounts"))
    for path, mount in _named(container, "volumeMounts", where):
        if mount["name"].startswith(RESERVED_VOLUME_PREFIX):
            yield f"{path}.name: {mount['name']!r} is the operator's, which mounts it by itself; remove it"
        folder = posixpath.normpath(f"/{str(mount.get('mountPath', '')).lstrip('/')}")
        if folder == "/" or f"{folder}/".startswith(f"{RESERVED_FOLDER}/"):
            yield (
                f"{path}.mountPath: {mount.get('mountPath')!r} would cover {RESERVED_FOLDER}, which is the "
                "operator's; mount it elsewhere"
            )


def _shape_problems(parent: JSONObject, where: str, *, lists: tuple[str, ...]) -> Iterator[str]:
    """The operator adds to these lists and objects, so they have to be such. The rest is the API server's."""
    if not isinstance(parent.get("securityContext") or {}, dict):
        yield f"{where}.securityContext: must be an object"
    for field in lists:
        items = parent.get(field) or []
        if not isinstance(items, list):
            yield f"{where}.{field}: must be a list"
            continue
        names: set[str] = set()
        for number, item in enumerate(items):
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                yield f"{where}.{field}[{number}]: must be an object with a name"
            elif name in names and field != "volumeMounts":
                yield f"{where}.{field}[{number}].name: {name!r} is there already; give each its own name"
            else:
                names.add(name)


def _named(parent: JSONObject, field: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of a list that are as they should be, with their paths."""
    items = parent.get(field)
    for number, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            yield f"{where}.{field}[{number}]", item

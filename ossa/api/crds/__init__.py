"""The CustomResourceDefinitions, made from the models: `python -m ossa.api.crds crds charts/ossa-crds/files`.

The models say names, types, bounds and descriptions; `rules` what only Kubernetes knows; the table in `kinds` how they
are called and shown.
"""

from ossa.api.crds.definitions import crd, file_name, render
from ossa.api.crds.kinds import KINDS, Kind

__all__ = ["KINDS", "Kind", "crd", "file_name", "render"]

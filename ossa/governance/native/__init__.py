"""A policy as a ValidatingAdmissionPolicy, which the API server holds with the operator down.

Possible where both dialects of CEL say the same: for rules, conditions and variables that read `object` and
`variables` alone, with what ossa.governance.common lets through. Two limits differ: the operator gives up a rule that
loops over more than 1,000 items, the API server one that costs too much. Each of the two enforces such a policy, so
that a refusal of either holds.
"""

from ossa.governance.native.names import LABEL_POLICY, native_name
from ossa.governance.native.objects import Native, NotNative, native_of

__all__ = ["LABEL_POLICY", "Native", "NotNative", "native_name", "native_of"]

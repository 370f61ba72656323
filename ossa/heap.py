"""Keeps the garbage collector's long pauses out of answers."""

from __future__ import annotations

import gc


def settle() -> None:
    """What is there now is taken for long-lived: the collector walks over what is made from here on alone.

    What nobody holds any more is collected before, also of what was settled earlier. Takes as long as a walk over all.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()

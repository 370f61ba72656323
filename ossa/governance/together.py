"""Many rules in one evaluation: that all are met is what most questions come to.

Each evaluation converts what it reads anew, which costs more than most rules do. Where the list of their values is
anything but all true, nothing is known, and each is judged alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from ossa.engine.cel.programs import CompileError, EvalError, Language, Program, compile_program
from ossa.governance.language import MAPS, ROOTS, TIMES
from ossa.governance.policies import CompiledPolicy

# Policies in one list: where a rule of one is not met, so many are judged again.
AT_ONCE = 25
_MOST = 64 * 1024  # characters of such a list
_JOINED = Language(ROOTS, maps=MAPS, times=TIMES, most=_MOST)


def surely_met(policies: Sequence[CompiledPolicy], bindings: Mapping[str, object]) -> frozenset[str]:
    """Names of policies all of whose rules are true; of the others nothing is said.

    Those that have conditions, variables, params or problems are never among them.
    """
    plain = [policy for policy in policies if _is_plain(policy)]
    return frozenset(_met(plain, bindings)) if len(plain) > 1 else frozenset()


def _is_plain(policy: CompiledPolicy) -> bool:
    return not (policy.conditions or policy.variables or policy.spec.params or policy.problems)


def _met(policies: Sequence[CompiledPolicy], bindings: Mapping[str, object]) -> Iterator[str]:
    for start in range(0, len(policies), AT_ONCE):
        some = policies[start : start + AT_ONCE]
        texts = tuple(rule.program.text for policy in some for rule in policy.rules)
        program = _joined(texts)
        if program is None:
            continue
        try:
            values = program.evaluate(bindings)
        except EvalError:
            continue  # whose it is, is seen when each is judged alone
        if values == [True] * len(texts) and all(value is True for value in values):
            yield from (policy.name for policy in some)


@lru_cache(maxsize=512)
def _joined(texts: tuple[str, ...]) -> Program | None:
    """None where they are too much together. A line each: a rule may end with a comment."""
    try:
        return compile_program("[" + ", ".join(f"({text}\n)" for text in texts) + "]", _JOINED)
    except CompileError:
        return None

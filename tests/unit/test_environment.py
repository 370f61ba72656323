"""Variables of the environment: what makes no sense is refused by name."""

from __future__ import annotations

import pytest

from ossa.environment import BadSetting, checked, names, number, required


def test_names_are_a_json_list_of_strings() -> None:
    assert names({}, "OSSA_DELEGATES") == ()
    assert names({"OSSA_DELEGATES": '["a", "b"]'}, "OSSA_DELEGATES") == ("a", "b")
    for text in ("a", '"a"', "[1]", "{}"):
        with pytest.raises(BadSetting, match="OSSA_OPERATORS"):
            names({"OSSA_OPERATORS": text}, "OSSA_OPERATORS")


@pytest.mark.parametrize("text", ["ten", "0", "nan", "inf"])
def test_numbers_are_finite_and_not_too_small(text: str) -> None:
    assert number({"OSSA_BATCH": ""}, "OSSA_BATCH", 500) == 500
    assert number({"OSSA_BATCH": "1.5"}, "OSSA_BATCH", 500, least=1) == 1.5
    with pytest.raises(BadSetting, match="OSSA_BATCH"):
        number({"OSSA_BATCH": text}, "OSSA_BATCH", 500, least=1)


def test_what_must_be_set_and_what_is_checked() -> None:
    with pytest.raises(BadSetting, match="OSSA_NAMESPACE must be set"):
        required({"OSSA_NAMESPACE": ""}, "OSSA_NAMESPACE")
    assert checked("OSSA_PORT", "1", int) == 1
    with pytest.raises(BadSetting, match="OSSA_PORT: "):
        checked("OSSA_PORT", "one", int)

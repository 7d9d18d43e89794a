import json
import math

import pytest

from slm_export.records import from_json, read_json, record, to_json, write_json


@record
class Inner:
    name: str
    sizes: tuple[int, ...] = ()


@record
class Outer:
    inner: Inner
    table: dict[str, Inner]
    several: tuple[Inner, ...]
    value: float
    maybe: Inner | None = None


OUTER = Outer(inner=Inner(name="a", sizes=(1, 2)), table={"k": Inner(name="b")}, several=(Inner(name="c"),), value=0.5)


def test_record_survives_json():
    assert from_json(Outer, json.loads(json.dumps(to_json(OUTER)))) == OUTER


def test_record_is_frozen_and_keyword_only():
    with pytest.raises(TypeError):
        Inner("a")
    with pytest.raises(AttributeError):
        OUTER.value = 1.0


def test_unknown_keys_are_ignored_and_missing_ones_named():
    assert from_json(Inner, {"name": "a", "new": 1}) == Inner(name="a")
    with pytest.raises(KeyError, match=r"Inner\.name"):
        from_json(Inner, {})


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_survives_valid_json(tmp_path, value):
    outer = Outer(inner=OUTER.inner, table={}, several=(), value=value)
    write_json(tmp_path / "x.json", outer)
    assert "Infinity" not in (tmp_path / "x.json").read_text()
    assert from_json(Outer, read_json(tmp_path / "x.json")).value == value

import pytest

from slm_export.parity.probes import lowering_rows
from slm_export.readers.facts import peak_bytes, scheme_of


@pytest.mark.parametrize(
    ("kinds", "scheme"),
    [
        (set(), "fp32"),
        ({("float32", "float")}, "fp32"),
        ({("float16", "float")}, "fp16"),
        ({("float16", "float"), ("float32", "float")}, "fp16"),
        ({("int8", "float")}, "w8"),
        ({("int8", "dynamic")}, "w8a8-dynamic"),
        ({("int8", "dynamic"), ("int8", "float")}, "w8a8-dynamic"),
        ({("int8", "static"), ("float32", "float")}, "w8a8"),
        ({("int4", "dynamic"), ("int8", "dynamic")}, "w4a8-dynamic"),
        ({("int4", "float"), ("int8", "float"), ("float32", "float")}, "w4"),
        ({("int4", "static")}, "mixed"),
        ({("int8", "float"), ("float16", "float")}, "mixed"),
    ],
)
def test_scheme_is_named_by_what_the_products_hold(kinds, scheme):
    assert scheme_of(kinds) == scheme


def test_peak_is_the_most_that_lives_at_once():
    steps = [(["x"], ["a"]), (["a", "w"], ["b"]), (["b"], ["c"]), (["c", "a"], ["y"])]
    sizes = {"x": 1, "a": 10, "b": 100, "c": 1000, "y": 1}
    assert peak_bytes(steps, sizes, kept=["x", "y"]) == 1 + 1 + 10 + 100 + 1000
    assert peak_bytes([], {"x": 5}, kept=["x"]) == 5


def test_a_value_nobody_reads_dies_at_once():
    assert peak_bytes([(["x"], ["a", "unused"]), (["a"], ["y"])], {"a": 1, "unused": 50, "y": 60}, kept=["y"]) == 111


def test_lowering_rows_span_the_lengths():
    lengths = [i % 50 + 1 for i in range(1000)]
    rows = lowering_rows(lengths)
    assert len(rows) == len(set(rows)) == 256 and {lengths[r] for r in rows} == set(range(1, 51))
    assert lowering_rows([3, 1, 2]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("kinds", "scheme"),
    [
        ({("int8", "static"), ("int8", "dynamic"), ("float32", "float")}, "w8a8"),
        ({("int8", "static16"), ("int8", "float")}, "w8a16"),
        ({("int4", "static")}, "mixed"),
        ({("int8", "static16"), ("int4", "float")}, "mixed"),
    ],
)
def test_static_schemes_are_read_from_what_products_are_given(kinds, scheme):
    assert scheme_of(kinds) == scheme

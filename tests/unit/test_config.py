import pytest

from slm_export import targets
from slm_export.config import choose_formats, merge, read_config, require, shapes
from slm_export.errors import UsageError

PROFILE = targets.load("android-arm64")


def nothing_refused(format, scheme):
    return None


def test_flags_win_over_config_over_defaults_and_say_so():
    settings = merge({"seed": 3, "scheme": None, "format": ()}, {"seed": 2, "output": "out", "scheme": "fp32"})
    found = {k: (settings[k].value, settings[k].origin) for k in ("seed", "output", "scheme", "calibration-samples")}
    assert found == {
        "seed": (3, "flag"),
        "output": ("out", "slm-export.toml"),
        "scheme": ("fp32", "slm-export.toml"),
        "calibration-samples": (128, "default"),
    }


def test_zero_is_a_value_and_not_an_absent_flag():
    assert merge({"seed": 0}, {"seed": 7})["seed"].value == 0


def test_config_file_is_optional_and_checked(tmp_path):
    assert read_config(tmp_path) == {}
    (tmp_path / "slm-export.toml").write_text('target = "android-arm64"\nmax-length = 64\nformat = ["onnx"]\n')
    assert read_config(tmp_path)["max-length"] == 64
    (tmp_path / "slm-export.toml").write_text('targt = "x"\nmax-length = "64"\n')
    with pytest.raises(UsageError) as caught:
        read_config(tmp_path)
    assert "did you mean 'target'?" in str(caught.value) and "max-length: '64' is not int" in str(caught.value)
    (tmp_path / "slm-export.toml").write_text("target = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        read_config(tmp_path)


def test_a_missing_target_says_where_it_can_stand():
    with pytest.raises(UsageError, match="no target is given") as caught:
        require({}, "target", flag="--target")
    assert "slm-export.toml" in str(caught.value)


def test_lengths_come_from_the_profile_but_never_exceed_the_model():
    shape, origins = shapes(merge({}, {}), PROFILE, 512)
    assert shape.max_length == 128 and shape.buckets == (16, 32, 64, 128)
    assert origins["max-length"].origin == "profile android-arm64"
    shape, origins = shapes(merge({}, {}), PROFILE, 100)
    assert shape.max_length == 100 and shape.buckets == (16, 32, 64, 100) and origins["max-length"].origin == "model"
    shape, _ = shapes(merge({"max-length": 20}, {}), PROFILE, None)
    assert shape.buckets == (16, 20)


def test_unrolled_layers_get_a_shorter_default_and_two_lengths():
    shape, origins = shapes(merge({}, {}), PROFILE, 512, unrolled=True)
    assert shape.max_length == 64 and shape.buckets == (32, 64) and origins["max-length"].origin == "unrolled layers"
    shape, origins = shapes(merge({"max-length": 128}, {}), PROFILE, 512, unrolled=True)
    assert shape.max_length == 128 and shape.buckets == (64, 128) and origins["max-length"].origin == "flag"
    shape, origins = shapes(merge({}, {}), PROFILE, 20, unrolled=True)
    assert shape.max_length == 20 and shape.buckets == (20,) and origins["max-length"].origin == "model"


def test_asking_for_more_than_the_model_has_is_an_error():
    with pytest.raises(UsageError, match="more than the model's 512 positions"):
        shapes(merge({"max-length": 513}, {}), PROFILE, 512)
    with pytest.raises(UsageError, match="cannot export 1 tokens"):
        shapes(merge({"max-length": 1}, {}), PROFILE, 512)


def test_formats_default_to_the_profiles_with_its_schemes():
    chosen = choose_formats(merge({}, {}), PROFILE, nothing_refused)
    assert [(c.format, c.scheme, c.refused) for c in chosen] == [
        (f, "w8a8-dynamic", None) for f in ("executorch", "tflite", "onnx")
    ]


def test_a_format_that_cannot_hold_the_scheme_is_left_out_unless_it_was_named():
    chosen = choose_formats(merge({"scheme": "fp16"}, {}), PROFILE, nothing_refused)
    assert [c.refused is None for c in chosen] == [False, True, True]
    with pytest.raises(UsageError, match="executorch cannot be exported as fp16"):
        choose_formats(merge({"scheme": "fp16", "format": ("executorch",)}, {}), PROFILE, nothing_refused)
    with pytest.raises(UsageError, match="no format of this target"):
        choose_formats(merge({"scheme": "fp16"}, {}), PROFILE, lambda f, s: "no")


def test_unknown_format_and_scheme_in_a_config_file_are_told():
    with pytest.raises(UsageError, match="has no format 'onxx'") as caught:
        choose_formats(merge({}, {"format": ["onxx"]}), PROFILE, nothing_refused)
    assert "did you mean 'onnx'?" in str(caught.value)
    with pytest.raises(UsageError, match="unknown scheme 'fp23'"):
        choose_formats(merge({}, {"scheme": "fp23"}), PROFILE, nothing_refused)

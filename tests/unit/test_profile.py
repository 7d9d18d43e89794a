import pytest

from slm_export import targets
from slm_export.errors import UsageError
from slm_export.names import FORMATS, SCHEMES


def load(tmp_path, text, name="mine.toml"):
    (tmp_path / name).write_text(text)
    return targets.load(tmp_path / name)


def test_the_five_targets_are_listed_and_the_abstract_base_is_not():
    assert targets.names() == ["android-arm64", "android-x86_64", "ios-arm64", "linux-arm64", "linux-x86_64"]


@pytest.mark.parametrize("name", targets.names())
def test_every_built_in_target_is_complete(name):
    profile = targets.load(name)
    assert profile.name == name and set(profile.runtimes) == set(FORMATS)
    for format, runtime in profile.runtimes.items():
        for scheme in runtime.schemes:
            row = profile.limits_for(task="text-classification", scheme=scheme, format=format)
            assert row is not None and row.why and row.bounds


def test_own_profile_extends_and_overrides_key_by_key(tmp_path):
    mine = load(
        tmp_path,
        """
        extends = "android-arm64"
        summary = "my phone"
        [shapes]
        max_length = 64
        [[limits]]
        task = "text-classification"
        scheme = "w8a8-dynamic"
        flip_rate = 0.02
        why = "a toy"
        """,
    )
    base = targets.load("android-arm64")
    assert (mine.name, mine.summary, mine.abi) == ("mine", "my phone", base.abi)
    assert mine.shapes.max_length == 64 and mine.shapes.buckets == base.shapes.buckets
    ask = {"task": "text-classification", "scheme": "w8a8-dynamic"}
    before = base.limits_for(**ask, format="tflite").bounds
    assert mine.limits_for(**ask, format="tflite").bounds == before | {"flip_rate": 0.02}, "the other bounds stay"
    assert mine.limits_for(**ask, format="tflite").why == "a toy"
    assert mine.limits_for(**ask, format="onnx").bounds["flip_rate"] == 0.007, "a format's own row wins"


def test_a_scheme_may_need_a_newer_runtime(tmp_path):
    runtime = targets.load("android-arm64").runtimes["tflite"]
    assert runtime.in_scheme("w8a8-dynamic").oldest == "1.2.0" and runtime.in_scheme("w4a8-dynamic").oldest == "2.1.0"
    mine = load(tmp_path, 'extends = "linux-x86_64"\n[runtimes.onnx]\noldest_for = { fp16 = "1.30.0" }')
    assert mine.runtimes["onnx"].in_scheme("fp16").oldest == "1.30.0"
    assert mine.runtimes["onnx"].in_scheme("w8").oldest == "1.23.0", "tables are merged key by key"


def test_one_row_may_hold_for_several_schemes(tmp_path):
    row = "[[limits]]\ntask = 'text-classification'\nscheme = ['w4', 'w8']\nflip_rate = 0.5\nwhy = 'a toy'"
    mine = load(tmp_path, f'extends = "linux-x86_64"\n{row}')
    for scheme in ("w4", "w8"):
        assert mine.limits_for(task="text-classification", scheme=scheme, format="onnx").bounds["flip_rate"] == 0.5


def test_budgets_are_optional_and_limits_missing_for_a_task_are_none(tmp_path):
    mine = load(tmp_path, 'extends = "linux-x86_64"')
    assert mine.budgets.artifact_mb is None
    assert mine.limits_for(task="image-classification", scheme="fp32", format="onnx") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sumary = 'x'", "sumary: unknown key; did you mean 'summary'?"),
        ("os = 'linus'", "os: unknown 'linus'; did you mean 'linux'?"),
        ("[shapes]\nmax_lenght = 3", "shapes.max_lenght: unknown key; did you mean 'max_length'?"),
        ("[shapes]\nbatch = 'a'", "shapes.batch: 'a' is not a positive whole number"),
        ("[shapes]\nbatch = 0", "shapes.batch: 0 is not a positive whole number"),
        ("[shapes]\nbuckets = [1, 'b']", "shapes.buckets: [1, 'b'] is not a list, each item a positive whole number"),
        ("[runtimes.onxx]\npackage = 'p'", "runtimes: unknown 'onxx'; did you mean 'onnx'?"),
        ("[runtimes.onnx]\nschemes = ['fp23']", "runtimes.onnx.schemes: unknown 'fp23'; did you mean 'fp32'?"),
        ("[runtimes.tflite]\ndefault_scheme = 'w4'", "runtimes.tflite.default_scheme: 'w4' is not among its schemes"),
        ("[[limits]]\ntask = 'text-clasification'\nscheme = 'fp32'\nwhy = 'w'", "did you mean 'text-classification'?"),
        ("[[limits]]\ntask = 'text-classification'\nscheme = 'fp32'\nflip_rat = 1", "did you mean 'flip_rate'?"),
        ("[[limits]]\ntask = 'text-classification'\nscheme = 'fp32'\nflip_rate = 1", "why is missing"),
        ("[[limits]]\ntask = 'text-classification'\nscheme = 'w8a17'\nwhy = 'w'", "unknown 'w8a17'"),
        ("summary = 3", "summary: must be text"),
        ("runtimes = 3", "runtimes: must be a table"),
        ("[runtimes]\nonnx = 3", "runtimes.onnx: must be a table"),
        ("[runtimes.onnx]\nschemes = 3", "runtimes.onnx.schemes: 3 is not a list"),
        ("[runtimes.onnx]\npackage = 'onnxruntime-openvino'", "runtimes.onnx.package: unknown 'onnxruntime-openvino'"),
        ("[runtimes.onnx]\noldest_for = { w9 = '1' }", "runtimes.onnx.oldest_for: unknown 'w9'"),
        ("[runtimes.onnx]\noldest_for = '1.30.0'", "runtimes.onnx.oldest_for: '1.30.0' is not a table"),
        ("[runtimes.tflite]\noptions = { threads = '2' }", "tflite.options: sessions of onnxruntime alone take any"),
        (
            "[runtimes.onnx]\noptions = { a = 1 }",
            "runtimes.onnx.options: {'session.x64quantprecision': '1', 'a': 1} is not a table, each value text",
        ),
        ("executors = 3", "executors: must be a list"),
        ("executors = [['host']]", "executors: unknown ['host']"),
        ("limits = 3", "limits: must be a list"),
        ("limits = [3]", "must be a table"),
        ("[[limits]]\ntask = ['a']", "unknown ['a']"),
        ("os = ['linux']", "os: unknown ['linux']"),
        ("name = 'a/b'", "name: 'a/b' cannot be part of a file name"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_near_miss(tmp_path, text, expected):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f'extends = "linux-arm64"\n{text}')
    assert expected in str(caught.value)


def test_a_row_without_a_metric_is_refused_because_it_would_open_the_gate(tmp_path):
    row = "[[limits]]\ntask = 'text-classification'\nscheme = 'fp32'\nwhy = 'w'"
    complete = "name='t'\nsummary='s'\nos='linux'\nisa='i'\nabi='a'\nbundle='directory'\nexecutors=['host']\n"
    with pytest.raises(UsageError, match="it would let everything pass"):
        load(tmp_path, complete + row)


def test_all_problems_are_told_at_once(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, "sumary = 'x'\nos = 'linus'")
    text = str(caught.value)
    assert "sumary" in text and "'linus'" in text and "shapes: missing" in text and "runtimes: missing" in text


def test_unknown_target_names_the_nearest():
    with pytest.raises(UsageError, match="unknown target 'android-arm46'") as caught:
        targets.load("android-arm46")
    assert "did you mean 'android-arm64'?" in str(caught.value)


def test_missing_file_broken_toml_and_circles_are_told(tmp_path):
    with pytest.raises(UsageError, match="unknown target"):
        targets.load(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="is not valid TOML"):
        load(tmp_path, "a = ")
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    with pytest.raises(UsageError, match="in a circle: a -> b -> a"):
        load(tmp_path, 'extends = "b.toml"', name="a.toml")


def test_a_relative_extends_is_looked_for_beside_the_file(tmp_path):
    (tmp_path / "parent.toml").write_text('extends = "linux-arm64"\nsummary = "parent"')
    assert load(tmp_path, 'extends = "parent.toml"').summary == "parent"


def test_profiles_name_only_known_schemes():
    assert all(s in SCHEMES for n in targets.names() for r in targets.load(n).runtimes.values() for s in r.schemes)

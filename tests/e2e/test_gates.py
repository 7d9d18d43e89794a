"""Break an artifact, and see the gate close: at export, and at verification."""

import json
import shutil

import numpy as np
import pytest

from slm_export.artifact import file_record
from slm_export.records import read_json, write_json
from tests.conftest import Cli, tiny_args

pytestmark = pytest.mark.usefixtures("warm")  # processes are the other files' subject
FILES = {"executorch": "executorch/model.pte", "tflite": "tflite/model.tflite", "onnx": "onnx/model.onnx"}


@pytest.fixture
def bundle(make_bundle, tmp_path):
    """A copy to break."""
    copy = tmp_path / "bundle"
    shutil.copytree(make_bundle("--scheme", "w8a8-dynamic"), copy)
    return copy


def rehash(bundle):
    """What a careful vandal does: make the manifest's hashes true again."""
    manifest = read_json(bundle / "manifest.json")
    records = [*manifest["files"], *(f for a in manifest["artifacts"] for f in a["files"])]
    for item in records:
        fresh = file_record(bundle / item["path"], root=bundle)
        item.update(bytes=fresh.bytes, sha256=fresh.sha256)
    write_json(bundle / "manifest.json", manifest)


FORMAT_OF = {f"golden {file}": format for format, file in FILES.items()}


def refused(cli, bundle, check):
    """What the check says; only the artifact it is about is run, because ExecuTorch's runtime takes seconds to load."""
    done = cli("verify", bundle, "--json", "--format", FORMAT_OF.get(check, "onnx"))
    assert done.returncode == 7, done.stdout + done.stderr
    failed = {c["name"]: c["detail"] for c in json.loads(done.stdout)[0]["checks"] if c["ok"] is False}
    assert check in failed, failed
    return failed[check]


def flip_byte(path, *, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("file", FILES.values())
def test_verify_refuses_a_stale_hash(cli, bundle, file):
    flip_byte(bundle / file)
    assert f"{file} has another SHA-256" in refused(cli, bundle, "hashes")


@pytest.mark.parametrize("file", FILES.values())
def test_verify_refuses_a_truncated_file_even_with_a_true_hash(cli, bundle, file):
    data = (bundle / file).read_bytes()
    (bundle / file).write_bytes(data[: len(data) // 3])
    assert "bytes, not" in refused(cli, bundle, "hashes")
    rehash(bundle)
    assert refused(cli, bundle, f"golden {file}")


@pytest.fixture(scope="module")
def other_bundle(other_tiny, tmp_path_factory):
    """The same architecture, fine-tuned otherwise."""
    folder = tmp_path_factory.mktemp("other")
    Cli(folder).ok(*tiny_args(other_tiny, "other"))
    return folder / "other/model-linux-x86_64"


@pytest.mark.parametrize("file", FILES.values())
def test_verify_refuses_weights_of_another_fine_tune(cli, bundle, other_bundle, file):
    shutil.copy(other_bundle / file, bundle / file)
    rehash(bundle)
    assert "cosine to the recorded output" in refused(cli, bundle, f"golden {file}")


def test_verify_refuses_a_nan_weight(cli, bundle):
    poison_onnx(bundle / FILES["onnx"])
    rehash(bundle)
    assert "'NaN'" in refused(cli, bundle, "golden onnx/model.onnx")


def test_verify_refuses_a_swapped_label_map(cli, bundle):
    manifest = read_json(bundle / "manifest.json")
    manifest["labels"] = manifest["labels"][::-1]
    write_json(bundle / "manifest.json", manifest)
    assert "answers differ" in refused(cli, bundle, "golden onnx/model.onnx")


def test_verify_refuses_a_wrong_tokenizer(cli, bundle):
    path = bundle / "tokenizer/tokenizer.json"
    tokenizer = read_json(path)
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["the"], vocabulary["now"] = vocabulary["now"], vocabulary["the"]
    path.write_text(json.dumps(tokenizer))
    rehash(bundle)
    assert "other ids for" in refused(cli, bundle, "tokenizer")


def test_verify_refuses_a_verdict_that_its_own_values_do_not_bear_out(cli, bundle):
    parity = read_json(bundle / "parity.json")
    parity["reports"][2]["answers"]["flip_rate"] = 0.5
    write_json(bundle / "parity.json", parity)
    rehash(bundle)
    assert "onnx: flip_rate is 0.5" in refused(cli, bundle, "verdicts")


def test_verify_refuses_labels_that_are_fewer_than_outputs(cli, bundle):
    manifest = read_json(bundle / "manifest.json")
    manifest["labels"] = manifest["labels"][:2]
    write_json(bundle / "manifest.json", manifest)
    assert "4 outputs, 2 labels" in refused(cli, bundle, "golden onnx/model.onnx")


def test_verify_refuses_to_pass_a_format_that_is_not_there(cli, bundle):
    manifest = read_json(bundle / "manifest.json")
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["format"] != "tflite"]
    write_json(bundle / "manifest.json", manifest)
    done = cli("verify", bundle, "--format", "tflite")
    assert done.returncode == 7 and "the bundle has no tflite artifact; it has executorch, onnx" in done.stdout
    cli.ok("verify", bundle, "--format", "onnx")
    write_json(bundle / "manifest.json", manifest | {"artifacts": []})
    done = cli("verify", bundle)
    assert done.returncode == 7 and "lists no artifact" in done.stderr


def test_verify_refuses_golden_vectors_without_samples(cli, bundle):
    write_json(bundle / "golden.json", read_json(bundle / "golden.json") | {"samples": []})
    done = cli("verify", bundle)
    assert done.returncode == 7 and "there are no samples" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["golden.json", "manifest.json", "onnx/model.onnx"])
def test_verify_refuses_a_missing_file(cli, bundle, missing):
    (bundle / missing).unlink()
    done = cli("verify", bundle)
    assert done.returncode == 7 and missing in done.stdout + done.stderr


def test_verify_refuses_a_path_out_of_the_bundle(cli, bundle):
    manifest = read_json(bundle / "manifest.json")
    manifest["files"][0]["path"] = "../../etc/passwd"
    write_json(bundle / "manifest.json", manifest)
    assert "lies outside the bundle" in refused(cli, bundle, "hashes")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1, "artifacts": 3}'])
def test_verify_refuses_what_is_no_manifest(cli, bundle, content):
    (bundle / "manifest.json").write_text(content)
    done = cli("verify", bundle)
    assert done.returncode == 7 and "manifest.json" in done.stderr and "Traceback" not in done.stderr


# The gate at export: the same checks on what the exporter made, before it is bundled.


def poison_onnx(path):
    """Put NaN into one float weight of an .onnx file."""
    import onnx

    model = onnx.load(path)
    bias = next(t for t in model.graph.initializer if t.name.endswith("classifier.bias"))
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0] = np.nan
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, path)


@pytest.fixture(scope="module")
def judged(tiny, tmp_path_factory):
    """judged(format, damage): export once, break the artifact, and judge it as a run would."""
    from slm_export.pipeline import Listener, _Run
    from slm_export.planning import plan_run

    exported = {}

    def export(format):
        folder = tmp_path_factory.mktemp("run")
        data = {"calibration": str(tiny / "calibration.csv"), "eval": str(tiny / "eval.csv")}
        flags = {"model": str(tiny / "model"), "target": "linux-x86_64", **data, "max-length": 24,
                 "output": str(folder / "dist"), "format": (format,)}  # fmt: skip
        plan = plan_run(flags, folder)
        run = _Run(plan, folder, Listener())
        artifact, twin = run.export(plan.choices[0], run.prepare())
        path = folder / "artifacts" / artifact.path
        return path, path.read_bytes(), lambda: run.judge(plan.choices[0], artifact, twin)[1]

    def judge(format, damage=None):
        if format not in exported:
            exported[format] = export(format)
        path, saved, verdict = exported[format]
        path.write_bytes(saved)
        if damage:
            damage(path)
        return verdict()

    return judge


def truncate(path):
    path.write_bytes(path.read_bytes()[:5000])


def swap_two_labels(path):
    """Exchange two rows of the classifier: what a label map in another order amounts to."""
    import onnx

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if "classifier" in tensor.name and tensor.dims:  # not a zero point
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[..., [0, 1]] = values[..., [1, 0]]
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


def rename_output(path):
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["scores" if o == "logits" else o for o in node.output]
    model.graph.output[0].name = "scores"
    onnx.save(model, path)


@pytest.mark.parametrize("format", FILES)
def test_the_gate_is_open_for_the_artifact_as_exported(judged, format):
    assert judged(format).verdict == "pass"


@pytest.mark.parametrize(
    ("format", "damage", "expected"),
    [
        ("onnx", poison_onnx, "output"),
        ("onnx", truncate, "load"),
        ("onnx", swap_two_labels, "flip_rate"),
        ("onnx", rename_output, "load"),
        ("tflite", truncate, "load"),
        ("executorch", truncate, "load"),
    ],
)
def test_the_gate_closes_on_a_broken_artifact(judged, format, damage, expected):
    report = judged(format, damage)
    assert report.verdict == "fail"
    assert expected in {f.metric for f in report.findings}, report.findings
    assert all(f.message and f.advice for f in report.findings)


@pytest.mark.parametrize("format", FILES)
def test_the_gate_closes_on_another_fine_tune(judged, other_bundle, format):
    report = judged(format, lambda path: shutil.copy(other_bundle / FILES[format], path))
    assert report.verdict == "fail" and "cosine_mean" in {f.metric for f in report.findings}


STRICT = """
extends = "linux-x86_64"
[[limits]]
task = "text-classification"
scheme = "w8a8-dynamic"
max_abs_error = 1e-9
why = "nobody can"
[[limits]]
task = "text-classification"
scheme = "w8a8-dynamic"
format = "onnx"
max_abs_error = 10
why = "everybody can"
"""


def test_a_failing_artifact_is_left_out_with_exit_code_5_and_the_reason(tiny, cli):
    (cli.folder / "strict.toml").write_text(STRICT)
    args = [*tiny_args(tiny, "dist", "--format", "onnx", "--format", "tflite", "--junit", "j.xml")]
    args[2] = "strict.toml"
    done = cli(*args)
    assert done.returncode == 5, done.stdout + done.stderr
    bundle = cli.folder / "dist/model-strict"
    assert [a["format"] for a in read_json(bundle / "manifest.json")["artifacts"]] == ["onnx"]
    assert not (bundle / "tflite").exists()
    for part in ("tflite artifact does not answer like", "max_abs_error is", "must be <= 1e-09", "nobody can", "next:"):
        assert part in done.stderr
    assert [r["verdict"] for r in read_json(bundle / "parity.json")["reports"]] == ["pass", "fail"]
    assert 'failures="1"' in (cli.folder / "j.xml").read_text()
    cli.ok("verify", bundle)


def test_if_nothing_passes_the_old_bundle_still_stands(tiny, cli, make_bundle):
    (cli.folder / "model-strict.toml").write_text(STRICT)
    old = cli.folder / "dist/model-model-strict"
    shutil.copytree(make_bundle("--scheme", "w8a8-dynamic"), old)
    before = (old / "manifest.json").read_bytes()
    args = [*tiny_args(tiny, "dist", "--format", "tflite", "--json")]
    args[2] = "model-strict.toml"
    done = cli(*args)
    assert done.returncode == 5
    answer = json.loads(done.stdout)
    assert answer["bundle"] is None and answer["verdict"] == "fail" and answer["exit_code"] == 5
    assert (old / "manifest.json").read_bytes() == before
    assert (cli.folder / "dist/model-model-strict.log").is_file()
    args[-2] = "onnx"
    cli.ok(*args)
    assert not (cli.folder / "dist/model-model-strict.log").exists(), "what failed before has passed"


def test_an_artifact_over_the_targets_budget_is_left_out_with_exit_code_6(tiny, cli):
    (cli.folder / "small.toml").write_text('extends = "linux-x86_64"\n[budgets]\nartifact_mb = 0.1\n')
    args = [*tiny_args(tiny, "dist", "--format", "onnx")]
    args[2] = "small.toml"
    done = cli(*args)
    assert done.returncode == 6 and "allows 0.1 MB" in done.stderr and not (cli.folder / "dist/model-small").exists()

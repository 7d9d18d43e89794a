"""Each format and scheme on a tiny seeded model, through the command line and the runtimes themselves."""

import json
import shutil

import numpy as np
import pytest

from slm_export import readers, runtimes
from slm_export.artifact import Artifact
from slm_export.records import from_json
from tests.conftest import ROOT, tiny_args

MAX_LENGTH = 24
CASES = [
    ("executorch", "fp32"), ("executorch", "w8a8-dynamic"), ("tflite", "fp32"), ("tflite", "fp16"),
    ("tflite", "w8"), ("tflite", "w8a8-dynamic"), ("onnx", "fp32"), ("onnx", "fp16"), ("onnx", "w8"),
    ("onnx", "w8a8-dynamic"), ("executorch", "w4a8-dynamic"), ("tflite", "w4a8-dynamic"), ("onnx", "w4"),
    ("onnx", "w4a8-dynamic"),
]  # fmt: skip


BATCHED = {"executorch": ("batch", "sequence"), "tflite": (2, "sequence")}


def flags(scheme):
    return ("--scheme", scheme)


def entry(bundle, format):
    manifest = json.loads((bundle / "manifest.json").read_text())
    return next(a for a in manifest["artifacts"] if a["format"] == format)


def open_session(bundle, format):
    artifact = from_json(Artifact, entry(bundle, format))
    return runtimes.get(format).open(bundle / artifact.path, artifact), artifact


def parity(bundle, format):
    reports = json.loads((bundle / "parity.json").read_text())["reports"]
    return next(r for r in reports if r["format"] == format)


def run(session, *rows, pad=0):
    width = max(map(len, rows))
    ids = np.array([[*r, *[pad] * (width - len(r))] for r in rows], np.int64)
    mask = np.array([[1] * len(r) + [0] * (width - len(r)) for r in rows], np.int64)
    return session.run({"input_ids": ids, "attention_mask": mask})["logits"]


@pytest.mark.parametrize(("format", "scheme"), CASES)
def test_file_holds_the_scheme_it_was_asked_for(make_bundle, format, scheme):
    bundle = make_bundle(*flags(scheme))
    path = bundle / entry(bundle, format)["path"]
    facts = readers.get(path).read(path)
    assert facts.scheme == scheme == entry(bundle, format)["scheme"]
    assert facts.memory.weights_bytes > 0 and facts.memory.activations_bytes > 0


@pytest.mark.parametrize(("format", "scheme"), CASES)
def test_lowering_adds_no_error_of_its_own(make_bundle, format, scheme):
    report = parity(make_bundle(*flags(scheme)), format)
    assert report["numbers"]["lowering_max_abs_error"] <= 1e-4
    assert report["verdict"] == "pass" and report["findings"] == []
    if scheme == "fp32":
        assert report["numbers"]["max_abs_error"] <= 1e-4 and report["answers"]["flips"] == 0


@pytest.mark.parametrize(("format", "scheme"), CASES)
def test_every_length_up_to_the_maximum_runs_and_no_longer_one(make_bundle, format, scheme):
    session, artifact = open_session(make_bundle(*flags(scheme)), format)
    for length in (1, 2, 15, 16, 17, MAX_LENGTH):
        assert np.isfinite(run(session, [2] * length)).all()
    if format == "onnx":  # any length up to the model's 64 positions
        assert artifact.signatures == ()
    else:
        with pytest.raises(ValueError, match="takes at most"):
            run(session, [2] * (MAX_LENGTH + 1))


@pytest.mark.parametrize("format", ["tflite"])
def test_signatures_are_the_length_buckets_and_padding_changes_nothing(make_bundle, format):
    session, artifact = open_session(make_bundle(*flags("fp32")), format)
    assert [(s.name, s.sequence) for s in artifact.signatures] == [("seq_16", 16), ("seq_24", 24)]
    ids = [2, 9, 11, 25, 3]
    short = run(session, ids)
    session._buckets = session._buckets[1:]  # as if only the long bucket were there
    assert np.abs(run(session, ids) - short).max() < 1e-5


@pytest.mark.parametrize("format", ["executorch", "tflite", "onnx"])
def test_a_padded_batch_answers_like_its_rows(make_bundle, format):
    session, artifact = open_session(make_bundle(*flags("fp32"), "--batch", 2), format)
    rows = [2, 9, 3], [2, 10, 11, 26, 12, 3]
    together = run(session, *rows)
    apart = np.concatenate([run(session, r) for r in rows])
    assert together.shape == (2, 4) and np.abs(together - apart).max() < 1e-4
    if format != "onnx":
        assert artifact.batch == 2 and [i.shape for i in artifact.inputs] == 2 * [BATCHED[format]]
        assert artifact.outputs[0].shape == (BATCHED[format][0], 4)
        with pytest.raises(ValueError, match="takes at most"):
            run(session, *rows, rows[0])


def test_two_tokens_are_length_enough(tiny, cli):
    """Shorter than what exporters trace with, and as many as a batch."""
    args = [*tiny_args(tiny, "dist", "--batch", 2, *flags("fp32"))]
    args[args.index("--max-length") + 1] = 2
    cli.ok(*args)
    for format in ("executorch", "tflite", "onnx"):
        session, artifact = open_session(cli.folder / "dist/model-linux-x86_64", format)
        assert artifact.inputs[0].shape[1] == (2 if format == "tflite" else "sequence"), "one bucket is one length"
        assert run(session, [2], [2, 3]).shape == (2, 4)


def test_int8_products_of_onnx_can_be_made_unsigned_and_the_session_is_told_to(make_bundle):
    import onnx

    bundle = make_bundle(*flags("w8a8-dynamic"))
    session, artifact = open_session(bundle, "onnx")
    (name,) = artifact.runtime.options
    assert session._session.get_session_options().get_session_config_entry(name) == "1"
    products = [n for n in onnx.load(bundle / artifact.path).graph.node if n.op_type == "MatMulInteger"]
    assert products and len({n.input[3] for n in products}) == len({n.input[1] for n in products}) == len(products)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the runner is compiled with g++")
def test_a_pte_runs_without_torch_as_it_does_with_it(make_bundle, tmp_path, monkeypatch):
    from slm_export.runtimes import executorch_native

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = make_bundle(*flags("w8a8-dynamic"))
    session, artifact = open_session(bundle, "executorch")
    native = executorch_native.Session(bundle / artifact.path, artifact)
    for ids in ([2], [2, 9, 11, 25, 3], [2] * MAX_LENGTH):
        assert np.abs(run(native, ids) - run(session, ids)).max() < 1e-5
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes((bundle / artifact.path).read_bytes()[:3000])
    with pytest.raises(RuntimeError):
        run(executorch_native.Session(damaged, artifact), [2])


def test_tflite_signatures_share_their_weights(make_bundle):
    path = make_bundle(*flags("fp32")) / "tflite/model.tflite"
    table = 9000 * 32 * 4
    assert table < path.stat().st_size < 1.5 * table


def test_executorch_refuses_fp16_and_says_why(make_bundle, tiny, cli):
    bundle = make_bundle(*flags("fp16"))
    assert {a["format"] for a in json.loads((bundle / "manifest.json").read_text())["artifacts"]} == {"tflite", "onnx"}
    done = cli(*tiny_args(tiny, "dist", "--scheme", "fp16", "--format", "executorch"))
    assert done.returncode == 2 and "answers NaN" in done.stderr


@pytest.mark.parametrize("scheme", ["fp32", "w8a8-dynamic"])
def test_no_file_names_this_machine_or_its_source_lines(make_bundle, scheme):
    bundle = make_bundle(*flags(scheme))
    secrets = [str(ROOT), "site-packages", "stack_trace", str(bundle.parent)]
    for path in bundle.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [s for s in secrets if s.encode() in data], path

"""A bundle that nothing could run, and what the demo app would report of it."""

import hashlib

from slm_export.artifact import Artifact, Memory, RuntimeRecord, TensorSpec, file_record
from slm_export.bundle.manifest import (
    ArtifactEntry,
    Golden,
    GoldenOutputs,
    GoldenSample,
    Manifest,
    SourceEntry,
    TokenizerEntry,
    manifest_json,
)
from slm_export.quantplan import QuantPlan
from slm_export.records import write_json

FILES = {"onnx": "onnx/model.onnx", "tflite": "tflite/model.tflite"}


def write_bundle(folder, **golden):
    """A classifier's, with two artifacts; `golden` changes what is recorded of each."""
    for path in (*FILES.values(), "tokenizer/tokenizer.json"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(path.encode())
    outputs = GoldenOutputs(**{"outputs": (((1.0, 0.0),), ((0.0, 1.0),)), "min_cosine": 0.99, **golden})
    number = outputs.max_abs_error is not None
    samples = [
        GoldenSample(text=text, input_ids=(1, 2), answer=None if number else text, reference=((1.0, 0.0),))
        for text in ("a", "b")
    ]
    recorded = Golden(outputs=("logits",), samples=tuple(samples), artifacts=dict.fromkeys(FILES.values(), outputs))
    write_json(folder / "golden.json", recorded)
    write_json(folder / "manifest.json", manifest_json(_manifest(folder)))


def _manifest(folder):
    source = SourceEntry(
        kind="huggingface", name="tiny", hub_id=None, revision=None, architecture="Bert", sha256="0", license=None,
        files={},
    )  # fmt: skip
    return Manifest(
        name="tiny", target="android-arm64", task="text-classification", labels=("a", "b"), max_length=8,
        task_settings={}, source=source, calibration=None, versions={},
        tokenizer=TokenizerEntry(files=("tokenizer/tokenizer.json",), chat_template=None, truncation={}, padding={}),
        artifacts=tuple(ArtifactEntry(artifact=_artifact(folder, f), thresholds={}, verdict="pass") for f in FILES),
        files=tuple(file_record(folder / p, root=folder) for p in ("golden.json", "tokenizer/tokenizer.json")),
    )  # fmt: skip


def _artifact(folder, format):
    return Artifact(
        format=format, scheme="w8a8-dynamic", path=FILES[format],
        files=(file_record(folder / FILES[format], root=folder),),
        inputs=(TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence")),), outputs=(),
        max_length=8, pad_id=0, memory=Memory(weights_bytes=1, activations_bytes=1),
        runtime=RuntimeRecord(package=format, version="1", oldest="1", backend="cpu"),
        plan=QuantPlan(scheme="w8a8-dynamic", layers={}),
    )  # fmt: skip


def report_of(bundle, **changes):
    """What the app writes of that bundle, where all is well; `changes` are those of the first artifact."""
    told = [
        {
            "path": path, "format": format, "scheme": "w8a8-dynamic", "runtime": f"{format} 1.2.3", "cases": 2,
            "files": [{"path": path, "sha256": sha256(bundle / path), "expected": sha256(bundle / path)}],
            "max_error": 0.01, "allowed_error": None, "min_cosine": 0.9987, "allowed_cosine": 0.99, "answers_agree": 2,
            "load_ms": 41.5, "ms_per_case": 3.25, "verdict": "pass", "failures": [],
        }
        for format, path in FILES.items()
    ]  # fmt: skip
    told[0] |= changes
    named = {"name": "tiny", "target": "android-arm64", "manifest_sha256": sha256(bundle / "manifest.json")}
    device = {"manufacturer": "Google", "model": "Pixel 8", "android": "15", "sdk": 35, "abi": "arm64-v8a"}
    return {"schema": 1, "app": "1.0", "device": device, "bundles": [{**named, "verdict": "pass", "artifacts": told}]}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()

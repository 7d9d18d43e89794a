"""What each job needs installed: {distribution: module}; and the versions slm-export was tested with."""

from __future__ import annotations

from importlib import metadata

MODEL_NEEDS = {
    "torch": "torch",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "cyclonedx-python-lib": "cyclonedx",  # every bundle has a bill of materials
}
EXPORT_NEEDS = {
    "executorch": {**MODEL_NEEDS, "executorch": "executorch", "torchao": "torchao"},
    "tflite": {**MODEL_NEEDS, "litert-torch": "litert_torch", "ai-edge-quantizer": "ai_edge_quantizer"},
    "onnx": {**MODEL_NEEDS, "onnx": "onnx", "onnx-ir": "onnx_ir", "onnxscript": "onnxscript"},
}
TASK_NEEDS: dict[str, dict[str, dict[str, str]]] = {  # by format, beside EXPORT_NEEDS
    "token-classification": {format: {"seqeval": "seqeval"} for format in EXPORT_NEEDS},  # to compare answers
    "text-generation": {
        "onnx": {"onnxruntime-genai": "onnxruntime_genai"},  # to build the graph
        "tflite": {"litert-lm-builder": "litert_lm_builder"},  # to pack it
    },
}
RUN_NEEDS = {
    "executorch": {"executorch": "executorch"},
    "tflite": {"ai-edge-litert": "ai_edge_litert"},
    "onnx": {"onnxruntime": "onnxruntime"},
}
TAKE_OPTIONS = ("onnxruntime",)  # packages whose sessions a profile can set options of
TESTED = {
    "torch": "2.13.0",
    "executorch": "1.5.1",
    "litert-torch": "0.10.0",
    "ai-edge-quantizer": "0.10.0",
    "ai-edge-litert": "2.3.0",
    "onnxruntime": "1.31.1",
    "onnxruntime-genai": "0.18.0",
    "litert-lm-builder": "0.18.1",
}


def tested(distribution: str) -> str:
    """What to hand to pip: the tested version, where there is one."""
    return f"{distribution}=={TESTED[distribution]}" if distribution in TESTED else distribution


def installed_version(distribution: str, module: str) -> str:
    """The version of `distribution`, or of another one that brings the same module (onnxruntime-gpu for onnxruntime).

    "unknown" where a module is there that no distribution claims.
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        owners = metadata.packages_distributions().get(module, [])
        return metadata.version(owners[0]) if owners else "unknown"

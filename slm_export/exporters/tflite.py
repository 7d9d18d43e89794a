"""TFLite: litert-torch converts the float model once, one signature per length bucket; the plan's integers are then
put into that file by ai-edge-quantizer.

All signatures share their weights. Sequence length is fixed within a signature: litert-torch takes no dynamic one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slm_export import tasks
from slm_export.artifact import Artifact, Part, file_record
from slm_export.errors import ExportError, first_line
from slm_export.exporters import seq2seq, tflite_package
from slm_export.exporters.common import (
    NO_STATIC_GENERATION,
    Exported,
    ExportRequest,
    checked_artifact,
    copy_structure,
    float_twin,
    replace_layers,
    sample_inputs,
    static_graph,
)
from slm_export.exporters.parts import checked_parts
from slm_export.exporters.tflite_file import (
    dequantize_outputs,
    float_digests,
    name_layers,
    put_floats,
    share_quantization,
)
from slm_export.exporters.tflite_weights import put_half_floats, put_integers
from slm_export.quantization.compressed import Compressed

ACTIVATIONS = ("per-token",)
INT8_GROUPS = False
TWIN_APART: frozenset[str] = frozenset()
UNROLLS = True


def supports(task: str, scheme: str) -> str | None:
    if scheme == "w8a8" and task in tasks.GENERATING:
        return NO_STATIC_GENERATION
    if scheme == "w8a16":
        return (
            "LiteRT's converter (litert-torch 0.10) refuses an int16 GELU, and int16 kernels are slower than float ones"
        )
    if scheme == "w4":
        return "ai-edge-quantizer 0.10.0 writes groups of int4 weights with int8 activations only"
    return None


def export(compressed: Compressed, request: ExportRequest, out: Path) -> Exported:
    """Write out/tflite/model.tflite (of a causal model model.litertlm) and, if activations are quantized,
    out/twin/tflite/model.tflite.

    The module's float weights are given up on the way, so that they are not held beside the converter's copies.
    Raises ExportError if litert-torch fails, or the file is not what was asked for.
    """
    if compressed.plan.ranges:
        return _export_static(compressed, request, out)
    path, twin_path, scheme = out / "tflite/model.tflite", out / "twin/tflite/model.tflite", compressed.plan.scheme
    for folder in (path.parent, twin_path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    layers = float_digests(compressed, [n for n, p in compressed.plan.layers.items() if p.bits < 32])
    _convert(compressed, request, path)
    for parameter in compressed.module.parameters():  # the file has its own, and quantizing it makes another
        parameter.data = parameter.data.new_empty(0)
    name_layers(path, layers)
    if scheme == "fp16":
        put_half_floats(path, path)
    elif compressed.tensors:
        dynamic = compressed.plan.quantizes_activations
        if dynamic:
            _write_twin(path, twin_path, compressed, layers)
        put_integers(path, path, compressed.tensors, layers, float_activations=not dynamic)
        share_quantization(path)

    if request.task in tasks.CAUSAL:
        path = tflite_package.pack(path, request, compressed.module.config)

    def checked(file: Path, scheme: str) -> Artifact:
        if request.task in tasks.GENERATING:
            parts = _parts(compressed, request, file.relative_to(out).as_posix())
            return checked_parts(parts, compressed, request, format="tflite", root=out, scheme=scheme)
        return checked_artifact(
            file, compressed, request, format="tflite", root=out, batch=request.batch, scheme=scheme
        )

    artifact = checked(path, scheme)
    if not compressed.plan.quantizes_activations:
        return Exported(artifact=artifact, twin=None)
    if _all_int8(compressed):
        return Exported(artifact=artifact, twin=checked(twin_path, "w8"))
    return Exported(artifact=artifact, twin=float_twin(artifact, twin_path, root=out))


def _export_static(compressed: Compressed, request: ExportRequest, out: Path) -> Exported:
    """The converter makes integer operators of the graph's static ranges; the other layers' integers are then put in,
    as ever. The twin is converted apart, because the converter has used the static layers' floats up."""
    path = out / "tflite/model.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    others = {n: t for n, t in compressed.tensors.items() if compressed.plan.layers[n].activations != "static"}
    layers = float_digests(compressed, others)
    _convert(compressed, request, path)
    name_layers(path, layers)
    if others:
        put_integers(path, path, others, layers, float_activations=False)
    share_quantization(path)
    dequantize_outputs(path)
    artifact = checked_artifact(
        path, compressed, request, format="tflite", root=out, batch=request.batch, scheme=compressed.plan.scheme
    )
    plan = replace(compressed.plan.weights_only(), scheme="w8")
    twin = export(replace(compressed, plan=plan), request, out / "twin").artifact
    files = (file_record(out / "twin" / twin.path, root=out),)
    return Exported(artifact=artifact, twin=replace(twin, path=f"twin/{twin.path}", files=files))


def _write_twin(path: Path, twin_path: Path, compressed: Compressed, layers: Mapping[str, str]) -> None:
    """The same weights with float activations: int8 ones as integers, int4 ones as what they stand for, because
    ai-edge-quantizer writes groups of them with int8 activations only."""
    if _all_int8(compressed):
        put_integers(path, twin_path, compressed.tensors, layers, float_activations=True)
    else:
        put_floats(path, twin_path, {n: t.dequantized().numpy() for n, t in compressed.tensors.items()})


def _all_int8(compressed: Compressed) -> bool:
    return all(t.bits == 8 for t in compressed.tensors.values())


def _convert(compressed: Compressed, request: ExportRequest, path: Path) -> None:
    import litert_torch

    from slm_export.exporters.unrolled import unroll

    module = copy_structure(compressed.module)
    replace_layers(module, _convertible)
    if request.task in tasks.ENCODER_DECODERS:
        from slm_export.exporters import tflite_seq2seq

        return tflite_seq2seq.convert(module, seq2seq.cache_shape(module, request), request, path)
    if request.task in tasks.CAUSAL:
        from slm_export.exporters import tflite_causal

        return tflite_causal.convert(module, request, path)
    unroll(module)
    if compressed.plan.ranges:
        from slm_export.exporters.tflite_static import QUANT_CONFIG, forms

        graph, quant_config = static_graph(compressed, request, forms(compressed, _layer_norm)), QUANT_CONFIG
    else:
        from slm_export.exporters.tflite_folding import prevent_folding

        graph, quant_config = tasks.get(request.task).graph(module), None
        prevent_folding(graph, sample_inputs(request.inputs, batch=1, length=min(request.buckets)))
    try:
        converter = litert_torch
        for bucket in request.buckets:
            inputs = sample_inputs(request.inputs, batch=request.batch, length=bucket)
            converter = converter.signature(f"seq_{bucket}", graph, sample_kwargs=inputs)
        converter.convert(quant_config=quant_config).export(str(path))
    except Exception as err:  # litert-torch raises its own, torch's, jax's and MLIR's kinds
        raise ExportError("litert-torch cannot convert this model", where=first_line(err)) from err


def _parts(compressed: Compressed, request: ExportRequest, path: str) -> list[Part]:
    if request.task in tasks.CAUSAL:
        from slm_export.exporters import tflite_causal

        return tflite_causal.parts(compressed.module.config, path, request.max_length)
    shape, vocabulary = seq2seq.cache_shape(compressed.module, request), compressed.module.lm_head.out_features
    return seq2seq.fixed_parts(shape, path, vocabulary, integer="int32", text=request.max_length)


def _convertible(_: str, layer: Any) -> Any | None:
    """The form of a layer that the converter leaves alone."""
    import torch

    if isinstance(layer, torch.nn.LayerNorm):
        return _layer_norm(layer)
    if hasattr(layer, "variance_epsilon"):  # T5's
        return _rms_norm(layer)
    if isinstance(layer, torch.nn.Embedding):
        layer.padding_idx = None
    return None


def _layer_norm(layer: Any) -> Any:
    """LayerNorm with gamma before the division. In torch's own form the converter folds gamma into the next
    FULLY_CONNECTED, and the weights there are no longer ours (24 of MiniLM's 36). Remove when it can be told not to.
    """
    import torch

    class LayerNorm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

        def forward(self, x: Any) -> Any:
            centered = x - x.mean(-1, keepdim=True)
            variance = (centered * centered).mean(-1, keepdim=True)
            y = (centered * self.weight) * torch.rsqrt(variance + self.eps)
            return y if self.bias is None else y + self.bias

    return LayerNorm()


def _rms_norm(layer: Any) -> Any:
    """T5's norm, gamma before the division for the same reason."""
    import torch

    class RmsNorm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = layer.weight, layer.variance_epsilon

        def forward(self, x: Any) -> Any:
            return (x * self.weight) * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps)

    return RmsNorm()

"""ONNX: torch.onnx, with the quantized layers written directly as the operators ONNX Runtime runs them with.

Linears with per-tensor activations become DynamicQuantizeLinear + MatMulInteger, which the runtime fuses; those with
per-block or float ones, and int4 weights, MatMulNBits. Both carry the plan's integers: the choice is free per layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slm_export import tasks
from slm_export.artifact import Artifact
from slm_export.errors import ExportError, first_line
from slm_export.exporters.common import (
    NO_STATIC_GENERATION,
    TRACED_LENGTH,
    Exported,
    ExportRequest,
    checked_artifact,
    float_twin,
    sample_inputs,
    static_graph,
)
from slm_export.exporters.onnx_graph import guard_int8_products, make_activations_float, save, tidy
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.points import Forms

ACTIVATIONS = ("per-tensor", "per-block")
INT8_GROUPS = True
TWIN_APART: frozenset[str] = frozenset()
UNROLLS = False
OPSET = 20
OPSET_OF_INT16 = 21  # the first whose QuantizeLinear makes 16 bits


def supports(task: str, scheme: str) -> str | None:
    return NO_STATIC_GENERATION if scheme in ("w8a8", "w8a16") and task in tasks.GENERATING else None


def export(compressed: Compressed, request: ExportRequest, out: Path) -> Exported:
    """Write out/onnx/model.onnx and, if activations are quantized, out/twin/onnx/model.onnx.

    Batch and sequence vary freely. Raises ExportError if torch.onnx fails, or the file is not what was asked for.
    """
    plan = compressed.plan
    artifact = _write(compressed, request, out / "onnx" / "model.onnx", root=out, scheme=plan.scheme)
    if not plan.quantizes_activations:
        return Exported(artifact=artifact, twin=None)
    if not plan.ranges:
        return Exported(artifact=artifact, twin=_twin(artifact, out))
    scheme = plan.scheme.partition("a")[0]
    floats = replace(compressed, plan=plan.weights_only())
    twin = _write(floats, request, out / "twin/onnx/model.onnx", root=out, scheme=scheme)
    return Exported(artifact=artifact, twin=twin)


def _twin(artifact: Artifact, out: Path) -> Artifact:
    """Its graphs once more, in out/twin, with float activations."""
    import onnx_ir as ir

    for path in (file.path for file in artifact.files if file.path.endswith(".onnx")):
        model = ir.load(out / path)
        make_activations_float(model)
        save(model, out / "twin" / path)
    return float_twin(artifact, out / "twin" / artifact.path, root=out)


def _write(compressed: Compressed, request: ExportRequest, path: Path, *, root: Path, scheme: str) -> Artifact:
    if request.task in tasks.CAUSAL:
        from slm_export.exporters import onnx_causal

        return onnx_causal.artifact(compressed, request, path.parent, root=root, scheme=scheme)
    if request.task in tasks.ENCODER_DECODERS:
        from slm_export.exporters import onnx_seq2seq

        return onnx_seq2seq.write(compressed, request, path.parent, root=root, scheme=scheme)
    program = _lower(compressed, request)
    layers = [n for n, p in compressed.plan.layers.items() if p.bits == 16]
    tidy(program.model, halved=[compressed.module.get_submodule(n).weight.detach().numpy() for n in layers])
    guard_int8_products(program.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path), external_data=False)
    artifact = checked_artifact(path, compressed, request, format="onnx", root=root, batch=None, scheme=scheme)
    _require_varying(artifact, dict.fromkeys(request.inputs, ("batch", "sequence")))
    return artifact


def _require_varying(artifact: Artifact, declared: Mapping[str, Sequence[str]]) -> None:
    fixed = [f"{s.name} {list(s.shape)}" for s in artifact.inputs if s.shape != tuple(declared[s.name])]
    if fixed:
        raise ExportError(
            "the graph takes one shape only, where batch and sequence must vary",
            where=", ".join(fixed),
            why="the model's forward makes a Python number of a dimension: len(x), int(...), .tolist(), a loop over it",
            next_step="write x.size(0) where it says len(x), and operations on tensors where it loops",
        )


def _graph(compressed: Compressed, request: ExportRequest) -> Any:
    from slm_export.exporters.onnx_layers import (
        Dequantize,
        DequantizedLinear,
        Quantize,
        quantized_layer,
        tie_lookups,
        with_layers,
    )

    if not compressed.plan.ranges:
        return tasks.get(request.task).graph(tie_lookups(with_layers(compressed), compressed))

    def linear(name: str, layer: Any) -> Any:
        return DequantizedLinear(compressed.tensors[name], layer.bias)

    def other(name: str, layer: Any) -> Any:
        float_product = hasattr(layer, "in_features") and compressed.plan.layers[name].activations == "float"
        if float_product and name in compressed.tensors:
            return linear(name, layer)  # standard operators, as NPUs want them
        return quantized_layer(compressed, name, layer)

    return static_graph(
        compressed, request, Forms(quantize=Quantize, dequantize=Dequantize, linear=linear, layer=other)
    )


def _lower(compressed: Compressed, request: ExportRequest) -> Any:
    import torch

    task = tasks.get(request.task)
    wide = any(range_.bits == 16 for range_ in compressed.plan.ranges.values())
    batch, sequence = torch.export.Dim("batch_size"), torch.export.Dim("sequence_length")
    inputs = sample_inputs(
        request.inputs, batch=2, length=TRACED_LENGTH
    )  # never 1, which torch.export would take for a constant
    try:
        return torch.onnx.export(
            _graph(compressed, request),
            (),
            kwargs=inputs,
            input_names=list(request.inputs),
            output_names=list(task.OUTPUTS),
            dynamic_shapes={name: {0: batch, 1: sequence} for name in inputs},
            opset_version=OPSET_OF_INT16 if wide else OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as err:  # torch.onnx raises its own, torch.export's and plain Python's kinds
        raise ExportError("torch.onnx cannot export this model", where=first_line(err)) from err

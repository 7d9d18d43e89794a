"""What each format's own best tool makes of a classifier, as its documentation says to use it.

    python benchmarks/peers.py FORMAT MODEL FLOAT_ONNX OUT

One format a process; encoder.py calls it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

MAX_LENGTH = 128
BUCKETS = (16, 32, 64, 128)


def load(model: str, *, attention: str) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_grad_enabled(False)
    module = AutoModelForSequenceClassification.from_pretrained(
        model, dtype=torch.float32, attn_implementation=attention
    )
    return module.eval()


def onnx(model: str, float_onnx: str, out: str) -> None:
    """onnxruntime.quantization.quantize_dynamic, per channel, on the same float graph as ours."""
    import onnx as onnx_library
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx_library.load(float_onnx)
    del graph.graph.value_info[:]  # its shape inference stumbles over torch's
    stripped = Path(out).with_suffix(".float.onnx")
    onnx_library.save(graph, stripped)
    quantize_dynamic(stripped, out, per_channel=True, weight_type=QuantType.QInt8)
    stripped.unlink()


def executorch(model: str, float_onnx: str, out: str) -> None:
    """torchao's 8da8w on Linears and int8 embeddings, lowered to XNNPACK."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from torchao.quantization.granularity import PerAxis
    from torchao.quantization.quant_api import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig, quantize_

    module = load(model, attention="sdpa")
    linear = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0))
    table = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
    quantize_(module, linear)
    quantize_(module, table, lambda m, name: isinstance(m, torch.nn.Embedding) and "word" in name)
    module.get_input_embeddings().padding_idx = None  # to_executorch fails with one

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    sequence = {1: torch.export.Dim("sequence", min=2, max=MAX_LENGTH)}
    inputs = (torch.ones(1, 9, dtype=torch.int64), torch.ones(1, 9, dtype=torch.int64))
    exported = torch.export.export(Graph(), inputs, dynamic_shapes=(sequence, sequence), strict=False)
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    program = edge.to_executorch(ExecutorchBackendConfig(do_quant_fusion_and_const_prop=True))
    with Path(out).open("wb") as file:
        program.write_to_file(file)


def tflite(model: str, float_onnx: str, out: str) -> None:
    """litert-torch, one signature per bucket, and ai-edge-quantizer's dynamic_wi8 recipe."""
    import litert_torch
    import torch
    from ai_edge_quantizer import quantizer, recipe

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = load(model, attention="sdpa")

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return {"logits": self.model(input_ids=input_ids, attention_mask=attention_mask).logits}

    graph, converter = Graph().eval(), litert_torch
    for length in BUCKETS:
        inputs = {n: torch.ones(1, length, dtype=torch.int64) for n in ("input_ids", "attention_mask")}
        converter = converter.signature(f"seq_{length}", graph, sample_kwargs=inputs)
    float_path = Path(out).with_suffix(".float.tflite")
    converter.convert().export(str(float_path))
    job = quantizer.Quantizer(str(float_path))
    job.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    job.quantize().export_model(out, overwrite=True)
    float_path.unlink()


if __name__ == "__main__":
    {"onnx": onnx, "executorch": executorch, "tflite": tflite}[sys.argv[1]](*sys.argv[2:])

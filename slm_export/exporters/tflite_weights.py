"""Weights into a float .tflite through ai-edge-quantizer: our integers, or float16."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.errors import ExportError, first_line
from slm_export.exporters.tflite_file import OUTPUT_OF, digest
from slm_export.quantization.weights import QuantizedTensor, as_numpy


def put_integers(
    source: Path,
    target: Path,
    tensors: Mapping[str, QuantizedTensor],
    layers: Mapping[str, str],
    *,
    float_activations: bool,
) -> None:
    """Quantize the layers that `name_layers` named, with the integers of `tensors`, each found by the hash of its
    float weight in `layers`. A weight that is not among them is an error, never a fresh rounding.

    Raises ExportError wrapping whatever ai-edge-quantizer raises.
    """
    from ai_edge_quantizer import qtyping, recipe_manager

    key = _register_preset(tensors, layers)
    op = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    for bits in sorted({t.bits for t in tensors.values()}):
        names = "|".join(re.escape(n) for n, t in tensors.items() if t.bits == bits)
        for name, weights_only in ((op.FULLY_CONNECTED, float_activations), (op.EMBEDDING_LOOKUP, False)):
            recipe.add_quantization_config(
                regex=f"^{OUTPUT_OF}(?:{names})#",
                operation_name=name,
                op_config=_config(bits, weights_only),
                algorithm_key=key,
            )
    _quantize(source, target, recipe)


def put_half_floats(source: Path, target: Path) -> None:
    """Store the weights of the layers that `name_layers` named as float16, computed in float32."""
    from ai_edge_quantizer import qtyping, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    recipe = recipe_manager.RecipeManager()
    for name in (qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.TFLOperationName.EMBEDDING_LOOKUP):
        recipe.add_quantization_config(
            regex=f"^{OUTPUT_OF}", operation_name=name, op_config=config, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
    _quantize(source, target, recipe)


def _quantize(source: Path, target: Path, recipe: Any) -> None:
    from ai_edge_quantizer import quantizer

    try:
        job = quantizer.Quantizer(str(source))
        job.load_quantization_recipe(recipe.get_quantization_recipe())
        job.quantize().export_model(str(target), overwrite=True)
    except ExportError:
        raise
    except Exception as err:  # ai-edge-quantizer raises ValueError, RuntimeError and KeyError
        raise ExportError("ai-edge-quantizer cannot quantize the converted model", where=first_line(err)) from err


def _config(bits: int, weights_only: bool) -> Any:
    from ai_edge_quantizer import qtyping

    kinds = qtyping.QuantGranularity
    granularity = kinds.BLOCKWISE_32 if bits == 4 else kinds.CHANNELWISE
    weights = qtyping.TensorQuantizationConfig(num_bits=bits, symmetric=True, granularity=granularity)
    precision = qtyping.ComputePrecision.FLOAT if weights_only else qtyping.ComputePrecision.INTEGER
    return qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=precision, explicit_dequantize=weights_only
    )


def _register_preset(tensors: Mapping[str, QuantizedTensor], layers: Mapping[str, str]) -> Any:
    """Make ai-edge-quantizer look weights up instead of computing them.

    Its algorithm names are a closed enum, so the lookup takes OCTAV's place, which this process does not use. Remove
    when it takes quantized weights or new names.
    """
    from ai_edge_quantizer import algorithm_manager, qtyping
    from ai_edge_quantizer.algorithms.uniform_quantize import common_quantize, naive_min_max_quantize

    key, op = algorithm_manager.AlgorithmName.OCTAV, qtyping.TFLOperationName
    materializers = {
        op.FULLY_CONNECTED: common_quantize.materialize_fc_conv,
        op.EMBEDDING_LOOKUP: common_quantize.materialize_embedding_lookup,
    }
    for name, materialize in materializers.items():
        algorithm_manager.register_quantized_op(
            key,
            name,
            naive_min_max_quantize.init_qsvs,
            calibration_func=naive_min_max_quantize.min_max_calibrate,
            materialize_func=functools.partial(materialize, _lookup(tensors, layers)),
        )
    return key


def _lookup(tensors: Mapping[str, QuantizedTensor], layers: Mapping[str, str]) -> Any:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithms.uniform_quantize import naive_min_max_quantize
    from ai_edge_quantizer.algorithms.utils import common_utils

    def params(op_info: Any, config: Any, content: Any = None, statistics: Any = None) -> Any:
        if content is None:
            return naive_min_max_quantize.get_tensor_quant_params(op_info, config, content, statistics)
        layer = layers.get(digest(content))
        if layer is None:
            raise ExportError(f"a weight of shape {content.shape} is none of the compressed model's", where="tflite")
        tensor = tensors[layer]
        ints, scales = as_numpy(tensor)
        scales = scales.reshape(len(ints), -1)
        return qtyping.UniformQuantParams(
            scale=scales,
            zero_point=np.zeros(scales.shape, np.int32),
            num_bits=tensor.bits,
            symmetric=True,
            quantized_dimension=common_utils.get_weight_quantized_dim(op_info, content, config.granularity),
            block_size=tensor.group or 0,
            quantized_data=ints,
        )

    return params

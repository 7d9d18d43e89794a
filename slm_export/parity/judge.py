"""The verdict: a pure function of measured values and thresholds, so that a stored report can be judged again."""

from __future__ import annotations

import math
from collections.abc import Mapping

from slm_export.names import METRICS
from slm_export.records import record

ADVICE = {
    "max_abs_error": "the lowering is wrong for this model: report it with the model's config",
    "cosine_mean": "a finer scheme (fp16, fp32), for ONNX more --calibration-samples, or a limit of your own",
    "cosine_min": "look at the sample in parity.json; a finer scheme keeps outliers",
    "probe_cosine_min": "a shorter --max-length if the longest text is it, a smaller --batch if the batch is, or fp32",
    "snr_db": "a finer scheme (fp16, fp32)",
    "kl_mean": "a finer scheme (fp16, fp32), or for ONNX more --calibration-samples",
    "lowering_max_abs_error": "the exporter is wrong for this model: report it with the model's config",
    "eager_cosine_gap": "the exporter or the runtime rounds unlike the compressed model: report it with the config",
    "kl_p99": "more or other calibration texts, --int8-share 0.3, or a finer scheme (w8a8-dynamic)",
    "perplexity_increase": "calibration texts like the real ones, --int8-share 0.3, or a finer scheme (w8a8-dynamic)",
    "flip_rate": "calibration texts like the real ones, a larger evaluation set, or a finer scheme (fp16, fp32)",
    "span_f1_drop": "calibration texts like the real ones, a larger evaluation set, or a finer scheme (fp16, fp32)",
    "sequence_match": "calibration texts like the real ones, or a finer scheme (fp16, fp32)",
    "chrf_drop": "calibration texts like the real ones, or a finer scheme (fp16, fp32)",
    "exact_match_drop": "calibration texts like the real ones, or a finer scheme (fp16, fp32)",
    "neighbour_agreement": "a finer scheme (fp16, fp32), or for ONNX more --calibration-samples",
    "value_error_mean": "a finer scheme (fp16, fp32), or for ONNX more --calibration-samples",
    "micro_f1_drop": "calibration texts like the real ones, a larger evaluation set, or a finer scheme (fp16, fp32)",
    "answer_f1_drop": "calibration texts like the real ones, a larger evaluation set, or a finer scheme (fp16, fp32)",
    "error_increase": "calibration texts like the real ones, a larger evaluation set, or a finer scheme (fp16, fp32)",
    "accuracy_drop": "calibration texts like the real ones, a larger evaluation set, or a finer scheme (fp16, fp32)",
}


@record
class Finding:
    """One reason why an artifact does not pass. `metric` is "load" or "output" where nothing could be measured."""

    metric: str
    value: float
    limit: float
    message: str
    advice: str


def judge(values: Mapping[str, float], limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """Every limit that `values` break. A limit whose value is missing or NaN is broken.

    `limits` is {metric: bound} of names.METRICS, which says on which side the value must lie.
    """
    findings = []
    for metric, bound in limits.items():
        side = METRICS[metric][0]
        value = values.get(metric, math.nan)
        holds = value <= bound if side == "<=" else value >= bound  # False for NaN
        if not holds:
            message = f"{metric} is {show(value)}, must be {side} {show(bound)}"
            findings.append(Finding(metric=metric, value=value, limit=bound, message=message, advice=ADVICE[metric]))
    return tuple(findings)


def show(value: float) -> str:
    """A number as people read it: six significant digits."""
    return f"{value:.6g}"

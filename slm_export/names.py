"""The words that data files may use: formats, schemes, tasks, metrics. One list each, so a typo can be told."""

from __future__ import annotations

import re

FORMATS = ("executorch", "tflite", "onnx")

SCHEMES = {
    "fp32": "float32 weights and activations",
    "fp16": "float16 weights, float32 arithmetic",
    "w8a8-dynamic": "int8 weights per output channel, int8 activations scaled at run time",
}

TASKS = {
    "text-classification": "one label per text",
    "token-classification": "one tag per word",
    "feature-extraction": "one embedding per text",
    "text2text-generation": "a text for a text: T5, BART, Marian",
}

# Every value a parity report holds. A profile's limits row may bound each of them; the sign says on which side.
METRICS = {
    "max_abs_error": ("<=", "largest absolute difference of an output to the reference's"),
    "cosine_mean": (">=", "mean over samples of the cosine between an output and the reference's"),
    "cosine_min": (">=", "smallest such cosine"),
    "probe_cosine_min": (">=", "smallest such cosine over one token, a typical text, the maximum length, and a batch"),
    "snr_db": (">=", "the reference's energy over the difference's, decibels"),
    "kl_mean": ("<=", "mean KL divergence of the artifact's answer distribution from the reference's, nats"),
    "lowering_max_abs_error": ("<=", "largest difference of the weight-only twin to the compressed eager model"),
    "eager_cosine_gap": ("<=", "how far cosine_mean lies below the compressed eager model's own"),
    "flip_rate": ("<=", "share of answers (labels of texts, tags of words) that are not the reference's"),
    "sequence_match": (">=", "share of generated answers that are the reference's to the last token"),
    "neighbour_agreement": (">=", "share of samples whose nearest neighbour by cosine is the reference's"),
    "accuracy_drop": ("<=", "the reference's accuracy minus the artifact's, 0 to 1"),
    "chrf_drop": ("<=", "the chrF of the reference's answers minus the artifact's, 0 to 100"),
    "exact_match_drop": ("<=", "share of answers that are the target, the reference's minus the artifact's, 0 to 1"),
    "span_f1_drop": ("<=", "the F1 of whole entities (seqeval) of the reference minus the artifact's, 0 to 1"),
}


def is_file_name(name: object) -> bool:
    """Whether a model's or target's name can stand in a folder's name on every system."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None

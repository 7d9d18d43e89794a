"""The words that data files may use: formats, schemes, tasks, metrics. One list each, so a typo can be told."""

from __future__ import annotations

import re

FORMATS = ("executorch", "tflite", "onnx")

SCHEMES = {
    "fp32": "float32 weights and activations",
    "fp16": "float16 weights, float32 arithmetic",
    "w8": "int8 weights per output channel (of language models in groups of 32, in ONNX alone), float32 activations",
    "w8a8-dynamic": "int8 weights, int8 activations scaled at run time",
    "w8a8": "int8 weights per output channel, int8 activations with ranges from calibration (static) where harmless",
    "w8a16": "int8 weights per output channel, int16 activations with ranges from calibration (ONNX only)",
    "w4": "int4 weights in groups of 32 (lookups and tied heads int8), float32 activations",
    "w4a8-dynamic": "int4 weights in groups of 32 (lookups and tied heads int8), int8 activations scaled at run time",
}

PACKS = {  # what a bundle is made into beside its own folder; "directory" in a profile: nothing
    "android": "an Android library (AAR) in a local Maven repository",
    "play-asset-pack": "a Gradle module that Google Play delivers beside the app, for large models",
}

EXECUTORS = {  # where `run` runs a bundle
    "host": "this computer, which answers a text",
    "adb": "a connected Android device, whose demo app tests the bundle",
}

AUTO = "auto"  # in place of a scheme: the smallest within --max-drop, or the best within --max-size

ROUNDINGS = {  # of 4-bit weights
    "rtn": "to the nearest step of the group's largest weight",
    "mse": "the scale that errs least is searched; with a calibration set, weighted by the inputs it shows",
    "awq+gptq": "inputs scaled where that changes no answer, then each column's error made up for by the next ones",
}

EFFORTS = {  # for 4-bit weights
    "default": "rounding alone",
    "high": "then scales and norms learn from the float model on the calibration file; the integers stay",
}

RANKINGS = {  # of 4-bit layers, by what 8 bits would mend
    "hessian": "the error that 4 bits make in a layer's outputs, for each weight; known from the rounding",
    "gradient": "what giving the layer 8 bits does to the answers, to first order; one backward pass for all layers",
    "harm": "what giving the layer 8 bits does to the answers, measured: one run of the calibration set a layer",
}

IMPORTANCES = {  # of neurons and heads, by which the least go first
    "l1": "the sum of the magnitudes of all weights that go with it",
    "l2": "the root of the sum of their squares",
    "activation": "the energy of what it adds to its block on the calibration set",
}

TASKS = {
    "text-classification": "one label per text, or per pair of texts",
    "text-classification/multi-label": "any number of labels per text",
    "text-classification/regression": "one number per text",
    "token-classification": "one tag per word",
    "question-answering": "the span of a context that answers a question",
    "fill-mask": "the token behind a mask",
    "text2text-generation": "a text for a text: T5, BART, Marian",
    "text-generation": "the next token: Llama, Qwen, Phi, Gemma, SmolLM, GPT-2",
    "feature-extraction": "one embedding per text (sentence-transformers directories)",
    "feature-extraction/hidden-states": "one vector per token, of a plain encoder",
}

# Every value a parity report holds. A profile's limits row may bound each of them; the sign says on which side.
METRICS = {
    "max_abs_error": (
        "<=",
        "largest difference of an output to the reference's (of values beyond 100: per hundredth)",
    ),
    "cosine_mean": (">=", "mean over samples of the cosine between an output and the reference's"),
    "cosine_min": (">=", "smallest such cosine"),
    "probe_cosine_min": (">=", "smallest such cosine over one token, a typical text, the maximum length, and a batch"),
    "snr_db": (">=", "the reference's energy over the difference's, decibels"),
    "kl_mean": ("<=", "mean KL divergence of the artifact's answer distribution from the reference's, nats"),
    "lowering_max_abs_error": ("<=", "largest such difference of the weight-only twin to the compressed eager model"),
    "eager_cosine_gap": ("<=", "how far cosine_mean lies below the compressed eager model's own"),
    "flip_rate": ("<=", "share of answers (labels, tags, spans, masks, generated tokens) that are not the reference's"),
    "kl_p99": ("<=", "the KL divergence that 99 % of a text's positions stay below, nats"),
    "perplexity_increase": ("<=", "the artifact's perplexity on the evaluation texts over the reference's, minus 1"),
    "sequence_match": (">=", "share of generated answers that are the reference's to the last token"),
    "value_error_mean": ("<=", "mean difference to the reference's values, in their standard deviations"),
    "neighbour_agreement": (">=", "share of samples whose nearest neighbour by cosine is the reference's"),
    "accuracy_drop": ("<=", "the reference's accuracy minus the artifact's, 0 to 1"),
    "micro_f1_drop": ("<=", "the F1 over all decisions of label sets of the reference minus the artifact's, 0 to 1"),
    "answer_f1_drop": ("<=", "the mean F1 of answers' words (as SQuAD counts) of the reference minus the artifact's"),
    "error_increase": ("<=", "the artifact's mean absolute error minus the reference's, in standard deviations"),
    "chrf_drop": ("<=", "the chrF of the reference's answers minus the artifact's, 0 to 100"),
    "exact_match_drop": ("<=", "share of answers that are the target, the reference's minus the artifact's, 0 to 1"),
    "span_f1_drop": ("<=", "the F1 of whole entities (seqeval) of the reference minus the artifact's, 0 to 1"),
}


def is_file_name(name: object) -> bool:
    """Whether a model's or target's name can stand in a folder's name on every system."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None

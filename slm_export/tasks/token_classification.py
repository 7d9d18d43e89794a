"""Token classification: a tag for each word, which is the one of the word's first token.

Words are compared, not tokens: what a tagger says of a word's later tokens is not used. A word that truncation cuts off
is answered "O" (label 0 where there is none), by the reference as well as by the artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from slm_export.metrics import flips, kl_divergence, ratio_drop_interval, wilson_interval
from slm_export.outputs import Array, Matrices, Tokens, all_rows
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured, best, by_class, lead

if TYPE_CHECKING:
    from slm_export.calibration import Sample

AUTO_CLASS = "AutoModelForTokenClassification"
SAMPLES = "words"
MOST_SAMPLES = None
TRUNCATION = "longest_first"
TOLERATED_HARM = 1.25e-4
TAUGHT_BY = "distribution"
LOSS = ("span_f1_drop", "flip_rate")
INPUTS = encoder.INPUTS
OUTPUTS = {"logits": ("batch", "sequence", "labels")}
GOLDEN_COLUMNS = None
ABSENT = -1  # the position of a word that truncation cut off, or that has no token


def tokenize(tokenizer: Any, samples: Sequence[Sample], max_length: int | None) -> list[Tokens]:
    made = []
    for sample in samples:
        encoded = tokenizer(
            list(sample.words), is_split_into_words=True, truncation=max_length is not None, max_length=max_length
        )
        first: dict[int, int] = {}
        for position, word in enumerate(encoded.word_ids()):
            if word is not None:
                first.setdefault(word, position)
        positions = tuple(first.get(word, ABSENT) for word in range(len(sample.words)))
        made.append(Tokens(input_ids=tuple(encoded["input_ids"]), positions=positions))
    return made


def retokenize(tokenizer: Any, sample: Any) -> list[int]:
    ids: list[int] = tokenizer.encode(list(sample.words), is_pretokenized=True).ids
    return ids


def cut(outputs: dict[str, Array], row: int, tokens: Tokens) -> Array:
    return outputs["logits"][row, : len(tokens.input_ids)]


graph = partial(encoder.graph, outputs=tuple(OUTPUTS))
run = partial(encoder.run, outputs=tuple(OUTPUTS), cut=cut)


def harm(expected: Array, got: Array) -> float:
    """Mean KL divergence of the tokens' answers, nats."""
    return float(kl_divergence(expected, got).mean())


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> list[str]:
    tags = iter(best(_words(matrix, tokens)))
    outside = "O" if "O" in labels else labels[0]
    positions = range(len(matrix)) if tokens.positions is None else tokens.positions
    found = [p != ABSENT for p in positions]
    return [(labels[i] if (i := next(tags)) >= 0 else "NaN") if there else outside for there in found]


def margin(matrix: Array, tokens: Tokens) -> float:
    words = _words(matrix, tokens)
    return lead(words) if len(words) else 0.0


def _words(matrix: Array, tokens: Tokens) -> Array:
    """The rows of the words' first tokens; every row where no words are known."""
    return matrix if tokens.positions is None else matrix[[p for p in tokens.positions if p != ABSENT]]


def settings(source: Any) -> dict[str, Any]:
    return {"alignment": "first_token"}


def measure(judged: Judged) -> Measured:
    """Words whose tag changed; with tags, the F1 of whole entities (seqeval) before, after and its drop."""
    pairs = list(zip(judged.before, judged.after, judged.tokens, strict=True))
    before = best(all_rows([_words(b, t) for b, _, t in pairs]))
    after = best(all_rows([_words(a, t) for _, a, t in pairs]))
    changed = flips(before, after)
    values = {"flips": float(changed), "flip_rate": changed / len(before)}
    intervals: dict[str, tuple[float, ...]] = {"flip_rate": wilson_interval(changed, len(before))}
    if judged.targets is None:
        return Measured(answers=values, intervals=intervals, classes=by_class(judged.labels, before, before, after))
    truth = [[judged.labels[i] for i in tags] for tags in judged.targets]
    values["span_f1_reference"] = _span_f1(truth, judged.before, judged)
    values["span_f1"] = _span_f1(truth, judged.after, judged)
    values["span_f1_drop"] = values["span_f1_reference"] - values["span_f1"]
    counts = [_counts(truth, outputs, judged) for outputs in (judged.before, judged.after)]
    intervals["span_f1_drop"] = ratio_drop_interval(*counts)
    seen = [
        tag
        for tags, tokens in zip(judged.targets, judged.tokens, strict=True)
        for tag, position in zip(tags, tokens.positions or (), strict=True)
        if position != ABSENT
    ]
    truth_of_words = np.array(seen, np.int64)
    return Measured(answers=values, intervals=intervals, classes=by_class(judged.labels, truth_of_words, before, after))


def _span_f1(truth: list[list[str]], outputs: Matrices, judged: Judged) -> float:
    from seqeval.metrics import f1_score

    return float(f1_score(truth, _tagged(outputs, judged), zero_division=0))


def _counts(truth: list[list[str]], outputs: Matrices, judged: Judged) -> npt.NDArray[np.float64]:
    """Of each sentence twice the entities found right, and those found plus those there: the parts of the F1."""
    from seqeval.metrics.sequence_labeling import get_entities

    pairs = [
        (set(get_entities(true)), set(get_entities(got)))
        for true, got in zip(truth, _tagged(outputs, judged), strict=True)
    ]
    return np.array([[2 * len(true & got), len(true) + len(got)] for true, got in pairs], np.float64)


def _tagged(outputs: Matrices, judged: Judged) -> list[list[str]]:
    return [answer(m, t, judged.labels) for m, t in zip(outputs, judged.tokens, strict=True)]

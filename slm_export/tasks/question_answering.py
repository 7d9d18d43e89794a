"""Extractive question answering: a question and a context to the span of the context that answers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from slm_export.errors import InputError
from slm_export.metrics import flips, kl_divergence, ratio_drop_interval, wilson_interval
from slm_export.outputs import Array, Matrices, Tokens
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured, lead

if TYPE_CHECKING:
    from slm_export.calibration import Sample

AUTO_CLASS = "AutoModelForQuestionAnswering"
SAMPLES = "question"
MOST_SAMPLES = None
TRUNCATION = "only_second"
TOLERATED_HARM = 1.25e-4
TAUGHT_BY = "distribution"
LOSS = ("answer_f1_drop", "flip_rate")
INPUTS = encoder.INPUTS
OUTPUTS = {"start_logits": ("batch", "sequence"), "end_logits": ("batch", "sequence")}
GOLDEN_COLUMNS = None
LONGEST_ANSWER = 30  # tokens
OUTSIDE = (-1, -1)  # the span of a token that is none of the context's
retokenize = encoder.retokenize


def tokenize(tokenizer: Any, samples: Sequence[Sample], max_length: int | None) -> list[Tokens]:
    """Ids of question and context; of the context's tokens, which characters they are."""
    truncation = {"truncation": TRUNCATION} if max_length else {}
    encoded = encoder.encode(tokenizer, samples, max_length, return_offsets_mapping=True, **truncation)
    types = encoded.get(encoder.SEGMENTS)
    made = []
    long = next(
        (s for s, ids in zip(samples, encoded["input_ids"], strict=True) if len(ids) > (max_length or 1e9)), None
    )
    if long is not None:
        raise InputError(
            f"a question alone is longer than {max_length} tokens",
            where=f"line {long.line}: {long.text[:60]!r}",
            next_step="shorten the question, or give a longer --max-length",
        )
    for i, (ids, offsets) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)):
        spans = [tuple(o) if text == 1 else OUTSIDE for o, text in zip(offsets, encoded.sequence_ids(i), strict=True)]
        segments = tuple(types[i]) if types else None
        made.append(Tokens(input_ids=tuple(ids), token_type_ids=segments, spans=tuple(spans), context=samples[i].pair))
    return made


def cut(outputs: dict[str, Array], row: int, tokens: Tokens) -> Array:
    """[2, tokens]: the logits of where the answer starts, and of where it ends."""
    length = len(tokens.input_ids)
    return np.stack([outputs[name][row, :length] for name in OUTPUTS])


graph = partial(encoder.graph, outputs=tuple(OUTPUTS))
run = partial(encoder.run, outputs=tuple(OUTPUTS), cut=cut)


def harm(expected: Array, got: Array) -> float:
    """Mean KL divergence of where answers start and end, nats."""
    return float(kl_divergence(expected, got).mean())


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> dict[str, Any] | None:
    """{"text", "start", "end"}: characters of the context. None if no token of the context is left."""
    found = best_span(matrix, tokens)
    if found is None or tokens.spans is None or tokens.context is None:
        return None
    start, end = tokens.spans[found[0]][0], tokens.spans[found[1]][1]
    return {"text": tokens.context[start:end], "start": start, "end": end}


def best_span(matrix: Array, tokens: Tokens) -> tuple[int, int] | None:
    """First and last token of the likeliest span of up to 30 tokens of the context."""
    inside = _inside(tokens)
    if not len(inside) or np.isnan(matrix).any():
        return None
    start, end = matrix[0, inside], matrix[1, inside]
    scores = start[:, None] + end[None, :]
    distance = inside[None, :] - inside[:, None]
    scores = np.where((distance >= 0) & (distance < LONGEST_ANSWER), scores, -np.inf)
    first, last = np.unravel_index(int(scores.argmax()), scores.shape)
    return int(inside[first]), int(inside[last])


def _inside(tokens: Tokens) -> Any:
    return np.array([i for i, span in enumerate(tokens.spans or ()) if tuple(span) != OUTSIDE], np.int64)


def margin(matrix: Array, tokens: Tokens) -> float:
    inside = _inside(tokens)
    return lead(matrix[:, inside]) if len(inside) else 0.0


def settings(source: Any) -> dict[str, Any]:
    return {"answer": "characters of the context", "longest_answer_tokens": LONGEST_ANSWER}


def measure(judged: Judged) -> Measured:
    """Questions whose span changed; with answers, exact match and the words' F1 before and after, as SQuAD counts."""
    before, after = (_spans(m, judged) for m in (judged.before, judged.after))
    numbers = {span: i for i, span in enumerate(dict.fromkeys([*before, *after]))}
    changed = flips(*(np.array([numbers[s] for s in spans], np.int64) for spans in (before, after)))
    values = {"flips": float(changed), "flip_rate": changed / len(before)}
    intervals: dict[str, tuple[float, ...]] = {"flip_rate": wilson_interval(changed, len(before))}
    if judged.targets is not None:
        for name, score in (("exact_match", exact_match), ("answer_f1", word_f1)):
            scores = [_scores(score, matrices, judged) for matrices in (judged.before, judged.after)]
            values[f"{name}_reference"], values[name] = (float(np.mean(s)) for s in scores)
        values["answer_f1_drop"] = values["answer_f1_reference"] - values["answer_f1"]
        intervals["answer_f1_drop"] = ratio_drop_interval(*(np.stack([s, np.ones_like(s)], 1) for s in scores))
    return Measured(answers=values, intervals=intervals, classes={})


def _spans(matrices: Matrices, judged: Judged) -> list[tuple[int, int] | None]:
    return [best_span(m, t) for m, t in zip(matrices, judged.tokens, strict=True)]


def _scores(score: Any, matrices: Matrices, judged: Judged) -> npt.NDArray[np.float64]:
    """Each question's best score against any of the right answers; an empty answer where there is none."""
    assert judged.targets is not None
    texts = [(answer(m, t, ()) or {"text": ""})["text"] for m, t in zip(matrices, judged.tokens, strict=True)]
    best = [max(score(text, str(g)) for g in gold or ("",)) for text, gold in zip(texts, judged.targets, strict=True)]
    return np.array(best, np.float64)


def normalized(text: str) -> list[str]:
    """The words that count: lower case, no punctuation, no articles (SQuAD's evaluation, Rajpurkar et al. 2016)."""
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def exact_match(text: str, gold: str) -> float:
    return float(normalized(text) == normalized(gold))


def word_f1(text: str, gold: str) -> float:
    """F1 of the words of two answers; 1 if both are empty, 0 if one is."""
    words, wanted = normalized(text), normalized(gold)
    if not words or not wanted:
        return float(words == wanted)
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted))

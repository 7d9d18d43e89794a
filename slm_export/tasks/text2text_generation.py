"""Text to text: an encoder reads, a decoder answers token by token, greedily.

An answer is compared twice. Teacher-forced: the artifact is told the reference's own answer token by token, and its
logits at every step are compared; of a vocabulary's thousands those of the reference's best tokens, and the best of all
others. And freely: what the artifact says when it is told nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slm_export.errors import InputError
from slm_export.generation import Decoder, Ids, Rules, follow
from slm_export.metrics import chrf, chrf_drop_interval, flips, kl_divergence, wilson_interval
from slm_export.outputs import Array, Matrices, Step, Tokens, all_rows
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured, best, lead, surest_rows

if TYPE_CHECKING:
    from slm_export.calibration import Sample

AUTO_CLASS = "AutoModelForSeq2SeqLM"
SAMPLES = "text-to-text"
MOST_SAMPLES = None
TRUNCATION = "longest_first"
TOLERATED_HARM = 1.25e-4
LOSS = ("chrf_drop", "flip_rate")
INPUTS = encoder.INPUTS
OUTPUTS = {"logits": ("batch", "sequence", "vocabulary")}
GOLDEN_COLUMNS = None
FAMILIES = ("t5", "bart", "marian")  # those of seq2seq_graphs.py
COMPARED = 15  # tokens of each step
OTHER = -1  # the answer where the best token is none of them
tokenize, retokenize = encoder.tokenize, encoder.retokenize


def rules(module: Any, *, max_length: int) -> Rules:
    """What the checkpoint's generation_config asks for; answers end after `max_length` tokens, or sooner if it says so.

    Raises InputError where a decoder's start or end is not said, or the family's decoder is not one of FAMILIES.
    """
    config = module.generation_config
    if module.config.model_type not in FAMILIES:
        raise InputError(
            f"{type(module).__name__} is no encoder-decoder slm-export can export yet",
            why=f"it exports {', '.join(FAMILIES)}",
        )
    ends = config.eos_token_id
    if config.decoder_start_token_id is None or ends is None:
        raise InputError(
            "the model does not say where an answer starts or ends",
            where="generation_config.json: decoder_start_token_id, eos_token_id",
        )
    ends = tuple(ends) if isinstance(ends, list) else (ends,)
    longest = config.max_new_tokens or (config.max_length and config.max_length - 1) or max_length
    shortest = max(config.min_new_tokens or 0, (config.min_length or 0) - 1)
    return Rules(
        start=config.decoder_start_token_id,
        ends=ends,
        max_new_tokens=min(longest, max_length),
        forced_first=config.forced_bos_token_id,
        forced_last=config.forced_eos_token_id,
        banned=_banned(config, ends),
        min_new_tokens=shortest,
        no_repeat_ngram=config.no_repeat_ngram_size or 0,
    )


def _banned(config: Any, ends: Ids) -> Ids:
    """Single tokens never to say; transformers ignores a ban on an end."""
    words = {word[0] for word in config.bad_words_ids or [] if len(word) == 1}
    return tuple(sorted({*words, *(config.suppress_tokens or [])} - set(ends)))


def teach(
    module: Any, tokens: Sequence[Tokens], rules: Rules, progress: Callable[[int], None]
) -> tuple[list[Tokens], Matrices]:
    """Each sample with the reference's own greedy answer and the tokens whose logits are compared at each step, and the
    matrix of these.

    Raises InputError where transformers answers otherwise than `rules` say: the checkpoint asks for more than them.
    """
    taught, matrices = [], []
    for number, sample in enumerate(tokens, 1):
        said = _generated(module, sample, rules)
        logits = _forced_logits(module, sample, rules.start, said)
        taught.append(replace(sample, steps=_steps(logits, said, rules)))
        matrices.append(_matrix(logits, taught[-1]))
        progress(number)
    return taught, tuple(matrices)


def _generated(module: Any, sample: Tokens, rules: Rules) -> Ids:
    import copy

    import torch

    config = copy.deepcopy(module.generation_config)
    config.update(do_sample=False, num_beams=1, max_new_tokens=rules.max_new_tokens, max_length=None)
    ids = torch.tensor([sample.input_ids])
    with torch.inference_mode():
        made = module.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return tuple(made[0, 1:].tolist())


def _forced_logits(module: Any, sample: Tokens, start: int, said: Ids) -> Array:
    """[steps, vocabulary]"""
    import torch

    ids, told = torch.tensor([sample.input_ids]), torch.tensor([[start, *said[:-1]]])
    with torch.inference_mode():
        logits: Array = module(input_ids=ids, decoder_input_ids=told).logits[0].float().numpy()
    return logits


def _steps(logits: Array, said: Ids, rules: Rules) -> tuple[Step, ...]:
    made = []
    for number, (row, token) in enumerate(zip(logits, said, strict=True)):
        before = said[:number]
        chosen = rules.choose(row, before)
        if chosen != token and chosen >= 0:  # below 0 is NaN, which whoever gets the matrix refuses
            raise InputError(
                f"transformers answers token {token} where greedy choice is {chosen}",
                where="generation_config.json",
                why="it asks for something that slm-export does not know, or two tokens are equally good",
                next_step="remove from it what is not needed: penalties, biases, multi-token bad words",
            )
        if rules.forced(before) is not None:
            made.append(Step(token=token))
            continue
        order = np.argsort(-rules.allowed(row, before), kind="stable")
        compared = tuple(int(i) for i in order[: min(COMPARED, len(row) // 2)])
        made.append(Step(token=token, compared=compared, refused=tuple(rules.refused(before))))
    return tuple(made)


def run(module: Any, tokens: Sequence[Tokens], *, progress: Callable[[int], None] | None = None) -> Matrices:
    """Teacher-forced, by transformers, the whole answer at once. For samples not taught yet, the decoder is told the
    text itself, and gives all logits."""
    made = []
    start, rows = module.generation_config.decoder_start_token_id, module.lm_head.out_features
    for number, sample in enumerate(tokens, 1):
        said = tuple(s.token for s in sample.steps) if sample.steps else tuple(i % rows for i in sample.input_ids)
        logits = _forced_logits(module, sample, start, said)
        made.append(_matrix(logits, sample) if sample.steps else logits)
        if progress:
            progress(number)
    return tuple(made)


def _matrix(rows: Sequence[Array] | Array, tokens: Tokens) -> Array:
    """What is compared [steps that leave a choice, compared tokens and one]: see the top."""
    steps = [(row, step) for row, step in zip(rows, tokens.steps or (), strict=True) if step.compared]
    return np.stack([_reduced(row, step) for row, step in steps])


def _reduced(row: Array, step: Step) -> Array:
    others = row.copy()
    others[[*step.compared, *step.refused]] = -np.inf
    return np.append(row[list(step.compared)], others.max()).astype(np.float32)


def execute(decoder: Decoder, tokens: Tokens, rules: Rules) -> tuple[Array, Ids]:
    """The matrix of one sample, and the artifact's own answer."""
    rows, said = follow(decoder, tokens.input_ids, rules, tuple(s.token for s in tokens.steps or ()))
    return _matrix(rows, tokens), said


def say(module: Any, tokens: Sequence[Tokens], rules: Rules) -> list[Ids]:
    """The module's own answers, by transformers' generate."""
    return [_generated(module, sample, rules) for sample in tokens]


def harm(expected: Array, got: Array) -> float:
    """Mean KL divergence of the steps, nats, over the compared tokens."""
    return float(kl_divergence(expected, got).mean())


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> list[int]:
    """The best token of each step, told the reference's before; OTHER where it is none of the compared. It is the
    reference's answer exactly where the free answer is."""
    rows = iter(best(matrix))
    return [_token(step, next(rows)) if step.compared else step.token for step in tokens.steps or ()]


def _token(step: Step, column: int) -> int:
    return step.compared[column] if 0 <= column < len(step.compared) else OTHER


def surest(tokens: Tokens, reference: Array, artifacts: Sequence[Array]) -> tuple[Tokens, list[int]]:
    """Of the other steps only the token is left, which the decoder is told."""
    steps = list(tokens.steps or ())
    compared = [number for number, step in enumerate(steps) if step.compared]
    rows = surest_rows(reference, artifacts)
    for number in {*compared} - {compared[row] for row in rows}:
        steps[number] = Step(token=steps[number].token)
    return replace(tokens, steps=tuple(steps)), rows


def margin(matrix: Array, tokens: Tokens) -> float:
    return lead(matrix)


def settings(source: Any) -> dict[str, Any]:
    return {"decoding": "greedy"}


def measure(judged: Judged) -> Measured:
    """Steps whose best token changed, answers that are the same to the last token; with targets, chrF and exact match
    before and after."""
    before, after = best(all_rows(judged.before)), best(all_rows(judged.after))
    changed = flips(before, after)
    told = [tuple(s.token for s in t.steps or ()) for t in judged.tokens]
    said = judged.said or told
    same = sum(a == b for a, b in zip(told, said, strict=True))
    values = {"flips": float(changed), "flip_rate": changed / len(before), "sequence_match": same / len(told)}
    intervals: dict[str, tuple[float, ...]] = {
        "flip_rate": wilson_interval(changed, len(before)),
        "sequence_match": wilson_interval(same, len(told)),
    }
    if judged.wanted is not None and judged.decode is not None:
        texts = [[judged.decode(ids) for ids in answers] for answers in (told, said)]
        values |= _quality(texts[0], texts[1], judged.wanted)
        intervals["chrf_drop"] = chrf_drop_interval(texts[0], texts[1], judged.wanted)
    return Measured(answers=values, intervals=intervals, classes={})


def _quality(before: Sequence[str], after: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    scores = {"chrf": chrf, "exact_match": _exact_match}
    values = {}
    for name, score in scores.items():
        values[f"{name}_reference"], values[name] = score(before, wanted), score(after, wanted)
        values[f"{name}_drop"] = values[f"{name}_reference"] - values[name]
    return values


def _exact_match(texts: Sequence[str], wanted: Sequence[str]) -> float:
    return sum(a.split() == b.split() for a, b in zip(texts, wanted, strict=True)) / len(wanted)


def wanted(samples: Sequence[Sample]) -> tuple[str, ...] | None:
    """The answers a data file holds, if every row has one."""
    found = tuple(s.target for s in samples if s.target is not None)
    return found if len(found) == len(samples) else None

"""Distillation: a changed model learns to answer like the one it was made of. Hinton et al., 2015.

The loop knows neither what is trained nor why: it is given parameters, and how student and teacher answer. Pruned
models are healed by it (pruning/healing.py); scales of frozen integers can be trained by it as well, as latents that
`student` computes weights from.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from slm_export.distillation.losses import Answers, Loss
from slm_export.outputs import Tokens
from slm_export.records import record

Part = tuple[Tokens, ...]  # samples of one length, so that they run together unpadded

WARM_UP = 0.05  # of all steps
LEAST_RATE = 0.05  # of the learning rate, at the end of the cosine
EXAM_SHARE = 8  # of so many samples one judges, and teaches nothing
LARGEST_EXAM = 256


@record
class Batching:
    """How many samples of one length run at once, and what a step sees at least: so many samples, or tokens."""

    at_once: int = 32
    step: int = 32
    by_tokens: bool = False

    def weight(self, part: Part) -> int:
        return sum(len(t.input_ids) for t in part) if self.by_tokens else len(part)


BY_SAMPLES = Batching()
# Language models, whose every token has a vocabulary's logits: a text of 512 tokens is a step, short ones share one.
BY_TOKENS = Batching(at_once=1, step=384, by_tokens=True)

CACHED_BYTES = 300_000_000  # of a teacher's answers; what is beyond is computed anew at each pass


@record
class Distilled:
    """How it went: steps taken, samples learned from and judged by, and the judging samples' mean `judge` loss at
    temperature 1, before and after. `after` is the best state's, which the parameters were left in."""

    steps: int
    samples: int
    judged: int
    before: float
    after: float


def distill(
    *,
    student: Callable[[Part], Answers],
    teacher: Callable[[Part], Answers],
    parameters: Sequence[Any],
    samples: Sequence[Tokens],
    loss: Loss,
    judge: Loss,
    passes: int,
    learning_rate: float,
    temperature: float = 2.0,
    batching: Batching = BY_SAMPLES,
    refresh: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Distilled:
    """Train `parameters`, in place, for `passes` over the samples, and leave them in the best state that was seen.

    `student(part)` answers with gradients to the parameters; `refresh()` is called whenever they changed, to put back
    what must hold of them. One sample in eight, 256 at most, teaches nothing, and its `judge` loss after each pass says
    which state is best. The same samples in the same order give the same parameters, on one thread.
    """
    import torch

    lessons, exam = split(samples)
    total = passes * len(list(_steps(lessons, 0, batching)))
    # Adam without decay: the teacher, and not zero, is what weights are to stay near to.
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
    best = before = _judge(student, teacher, exam, judge, batching)
    kept = _copies(parameters)
    done = 0
    for number in range(passes):
        for step in _steps(lessons, number, batching):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * _pace(done / total)
            _learn(step, student, teacher, loss, temperature, optimizer, batching)
            refresh()
            done += 1
            progress(min(done, total), total)
        now = _judge(student, teacher, exam, judge, batching)
        if now < best:
            best, kept = now, _copies(parameters)
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    refresh()
    return Distilled(steps=done, samples=len(lessons), judged=len(exam), before=before, after=best)


class Teacher:
    """A model's answers, each part computed once as long as there is room to keep them."""

    def __init__(self, answer: Callable[[Part], Answers]) -> None:
        self._answer = answer
        self._known: dict[Tokens, Answers] = {}
        self._bytes = 0

    def __call__(self, part: Part) -> Answers:
        import torch

        if not all(sample in self._known for sample in part):
            with torch.no_grad():
                answers = self._answer(part)
            self._keep(part, answers)
            return answers
        rows = [self._known[sample] for sample in part]
        return {name: torch.stack([r[name] for r in rows]) for name in rows[0]}

    def _keep(self, part: Part, answers: Answers) -> None:
        size = sum(a.numel() * a.element_size() for a in answers.values())
        if self._bytes + size <= CACHED_BYTES:
            self._bytes += size
            self._known |= {sample: {n: a[i] for n, a in answers.items()} for i, sample in enumerate(part)}


def split(samples: Sequence[Tokens]) -> tuple[list[Tokens], list[Tokens]]:
    """(lessons, exam): every eighth sample judges, 256 at most and one at least; the order says which. A single sample
    does both."""
    every = min(len(samples), max(EXAM_SHARE, math.ceil(len(samples) / LARGEST_EXAM)))
    exam = [s for i, s in enumerate(samples) if i % every == every - 1]
    lessons = [s for i, s in enumerate(samples) if i % every != every - 1]
    return lessons or exam, exam


def parts_of(samples: Iterable[Tokens], *, most: int) -> list[Part]:
    """The samples by length, `most` to a part."""
    ordered = sorted(samples, key=lambda t: len(t.input_ids))
    same = [tuple(group) for _, group in groupby(ordered, key=lambda t: len(t.input_ids))]
    return [group[start : start + most] for group in same for start in range(0, len(group), most)]


def _steps(lessons: Sequence[Tokens], number: int, batching: Batching) -> Iterator[list[Part]]:
    """The parts of each step of a pass: another order each time, and the same in each run."""
    import torch

    chance = torch.Generator().manual_seed(number)
    shuffled = [lessons[int(i)] for i in torch.randperm(len(lessons), generator=chance)]
    parts = parts_of(shuffled, most=batching.at_once)
    step: list[Part] = []
    for i in torch.randperm(len(parts), generator=chance):
        step.append(parts[int(i)])
        if sum(map(batching.weight, step)) >= batching.step:
            yield step
            step = []
    if step:
        yield step


def _learn(
    step: Sequence[Part],
    student: Any,
    teacher: Any,
    loss: Loss,
    temperature: float,
    optimizer: Any,
    batching: Batching,
) -> None:
    weights = list(map(batching.weight, step))
    optimizer.zero_grad()
    for part, weight in zip(step, weights, strict=True):
        (loss(teacher(part), student(part), temperature) * (weight / sum(weights))).backward()
    optimizer.step()


def _judge(student: Any, teacher: Any, exam: Sequence[Tokens], loss: Loss, batching: Batching) -> float:
    import torch

    parts = parts_of(exam, most=batching.at_once)
    weights = list(map(batching.weight, parts))
    with torch.no_grad():
        losses = [float(loss(teacher(part), student(part), 1.0)) for part in parts]
    return sum(x * weight for x, weight in zip(losses, weights, strict=True)) / sum(weights)


def _copies(parameters: Sequence[Any]) -> list[Any]:
    return [p.detach().clone() for p in parameters]


def _pace(done: float) -> float:
    """Of the learning rate: up in the first twentieth, then down a cosine."""
    if done < WARM_UP:
        return max(done / WARM_UP, LEAST_RATE)
    return LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def some(samples: Sequence[Tokens], *, tokens: int) -> list[Tokens]:
    """Samples from all over the file, in its order, as many as have `tokens` together, and one at least."""
    chosen: list[int] = []
    order = list(range(len(samples)))
    random.Random(0).shuffle(order)
    for number in order:
        tokens -= len(samples[number].input_ids)
        if tokens < 0 and chosen:
            break
        chosen.append(number)
    return [samples[number] for number in sorted(chosen)]

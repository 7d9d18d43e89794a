"""Distillation: a changed model learns to answer like the one it was made of. Hinton et al., 2015.

The loop knows neither what is trained nor why: it is given parameters, and how student and teacher answer. Pruned
models are healed by it (pruning/healing.py); scales of frozen integers can be trained by it as well, as latents that
`student` computes weights from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from slm_export.outputs import Tokens
from slm_export.records import record

Part = tuple[Tokens, ...]  # samples of one length, so that they run together unpadded
Answers = dict[str, Any]  # tensors by the output's name
Loss = Callable[[Answers, Answers, float], Any]

STEP = 32  # samples a step sees, at least
WARM_UP = 0.05  # of all steps
LEAST_RATE = 0.05  # of the learning rate, at the end of the cosine
EXAM_SHARE = 8  # of so many samples one judges, and teaches nothing
LARGEST_EXAM = 256


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
    size: int = STEP,
    refresh: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Distilled:
    """Train `parameters`, in place, for `passes` over the samples, `size` or a few more a step, and leave them in the
    best state that was seen.

    `student(part)` answers with gradients to the parameters; `refresh()` is called whenever they changed, to put back
    what must hold of them. One sample in eight, 256 at most, teaches nothing, and its `judge` loss after each pass says
    which state is best. The same samples in the same order give the same parameters, on one thread.
    """
    import torch

    lessons, exam = split(samples)
    total = passes * len(list(_steps(lessons, 0, size)))
    # Adam without decay: the teacher, and not zero, is what weights are to stay near to.
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
    best = before = _judge(student, teacher, exam, judge, size)
    kept = _copies(parameters)
    done = 0
    for number in range(passes):
        for step in _steps(lessons, number, size):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * _pace(done / total)
            _learn(step, student, teacher, loss, temperature, optimizer)
            refresh()
            done += 1
            progress(min(done, total), total)
        now = _judge(student, teacher, exam, judge, size)
        if now < best:
            best, kept = now, _copies(parameters)
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    refresh()
    return Distilled(steps=done, samples=len(lessons), judged=len(exam), before=before, after=best)


def split(samples: Sequence[Tokens]) -> tuple[list[Tokens], list[Tokens]]:
    """(lessons, exam): every eighth sample judges, 256 at most and one at least; the order says which. A single sample
    does both."""
    every = min(len(samples), max(EXAM_SHARE, math.ceil(len(samples) / LARGEST_EXAM)))
    exam = [s for i, s in enumerate(samples) if i % every == every - 1]
    lessons = [s for i, s in enumerate(samples) if i % every != every - 1]
    return lessons or exam, exam


def parts_of(samples: Iterable[Tokens], *, most: int = STEP) -> list[Part]:
    """The samples by length, `most` to a part."""
    ordered = sorted(samples, key=lambda t: len(t.input_ids))
    same = [tuple(group) for _, group in groupby(ordered, key=lambda t: len(t.input_ids))]
    return [group[start : start + most] for group in same for start in range(0, len(group), most)]


def _steps(lessons: Sequence[Tokens], number: int, size: int) -> Iterator[list[Part]]:
    """The parts of each step of a pass: another order each time, and the same in each run."""
    import torch

    chance = torch.Generator().manual_seed(number)
    shuffled = [lessons[int(i)] for i in torch.randperm(len(lessons), generator=chance)]
    parts = parts_of(shuffled, most=size)
    step: list[Part] = []
    for i in torch.randperm(len(parts), generator=chance):
        step.append(parts[int(i)])
        if sum(map(len, step)) >= size:
            yield step
            step = []
    if step:
        yield step


def _learn(step: Sequence[Part], student: Any, teacher: Any, loss: Loss, temperature: float, optimizer: Any) -> None:
    count = sum(map(len, step))
    optimizer.zero_grad()
    for part in step:
        (loss(teacher(part), student(part), temperature) * (len(part) / count)).backward()
    optimizer.step()


def _judge(student: Any, teacher: Any, exam: Sequence[Tokens], loss: Loss, size: int) -> float:
    import torch

    with torch.no_grad():
        losses = [float(loss(teacher(part), student(part), 1.0)) * len(part) for part in parts_of(exam, most=size)]
    return sum(losses) / len(exam)


def _copies(parameters: Sequence[Any]) -> list[Any]:
    return [p.detach().clone() for p in parameters]


def _pace(done: float) -> float:
    """Of the learning rate: up in the first twentieth, then down a cosine."""
    if done < WARM_UP:
        return max(done / WARM_UP, LEAST_RATE)
    return LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def distribution(expected: Any, got: Any, temperature: float) -> Any:
    """Mean KL divergence of softmax(got / t) from softmax(expected / t) over the last axis, nats, times t squared: so
    that gradients do not shrink with t."""
    from torch.nn.functional import kl_div, log_softmax

    wanted, said = (log_softmax(x / temperature, -1) for x in (expected, got))
    return temperature**2 * kl_div(said, wanted, log_target=True, reduction="none").sum(-1).mean()


def decisions(expected: Any, got: Any, temperature: float) -> Any:
    """As `distribution`, each logit a yes or no of its own."""
    import torch

    wanted, said = (torch.stack([x, torch.zeros_like(x)], -1) for x in (expected, got))
    return distribution(wanted, said, temperature)


def values(expected: Any, got: Any, temperature: float) -> Any:
    """Mean squared difference."""
    return ((got - expected) ** 2).mean()


def vectors(expected: Any, got: Any, temperature: float) -> Any:
    """Squared length of the difference, for each of the expected; of unit vectors twice one minus the cosine."""
    return ((got - expected) ** 2).sum() / (expected**2).sum().clamp_min(1e-12)


LOSSES = {"distribution": distribution, "decisions": decisions, "values": values, "vectors": vectors}

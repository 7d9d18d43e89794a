"""Healing: what is left of a pruned model learns, from the reference, to answer as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from slm_export.distillation import BY_SAMPLES, Batching, Distilled, Part, Teacher, distill
from slm_export.distillation.losses import LOSSES, Answers, loss_of
from slm_export.outputs import Tokens
from slm_export.pruning.sparse import put_zeros
from slm_export.tasks.encoder import feed

LEARNING_RATE = 1e-4
HIDDEN = "hidden of "


def heal(
    module: Any,
    reference: Any,
    task: ModuleType,
    tokens: Sequence[Tokens],
    *,
    passes: int,
    masks: Mapping[str, Any],
    hidden: Mapping[str, str],
    batching: Batching = BY_SAMPLES,
    progress: Callable[[int, int], None],
) -> Distilled:
    """Train the pruned `module`, in place, on the reference's answers to `tokens`; weights that `masks` leave out
    stay zero.

    `hidden` are blocks of the module whose hidden states it learns too, each with the block of the reference that it
    learns them from. Embeddings stay as they are: few of their rows are in the texts.
    """
    parameters = trainable(module)
    for parameter in parameters:
        parameter.requires_grad_(True)
    names, judge = tuple(task.OUTPUTS), loss_of(task.OUTPUTS, task.TAUGHT_BY)

    def loss(expected: Answers, got: Answers, temperature: float) -> Any:
        inner = [LOSSES["vectors"](expected[n], got[n], temperature) for n in expected if n.startswith(HIDDEN)]
        return judge(expected, got, temperature) + sum(inner) / max(1, len(inner))

    same = {ours: ours for ours in hidden}
    try:
        return distill(
            student=lambda part: _answers(module, part, names, same),
            teacher=Teacher(lambda part: _answers(reference, part, names, hidden)),
            parameters=parameters,
            samples=tokens,
            loss=loss,
            judge=judge,
            passes=passes,
            batching=batching,
            learning_rate=LEARNING_RATE,
            refresh=lambda: put_zeros(module, masks),
            progress=progress,
        )
    finally:
        module.requires_grad_(False)


def trainable(module: Any) -> list[Any]:
    """All parameters but lookup tables, and Linears tied to them."""
    import torch

    tables = {id(m.weight) for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    return [p for p in module.parameters() if id(p) not in tables]


def _answers(module: Any, part: Part, names: Sequence[str], hidden: Mapping[str, str]) -> Answers:
    """The module's outputs for samples of one length, and the hidden states that blocks make, by the student's name."""
    with _watched(module, hidden) as states:
        result = module(**feed(part))
    return {n: result[n] for n in names} | states


@contextmanager
def _watched(module: Any, hidden: Mapping[str, str]) -> Iterator[Answers]:
    states: Answers = {}

    def keep(name: str, out: Any) -> None:
        states[HIDDEN + name] = out[0] if isinstance(out, tuple) else out

    hooks = [
        module.get_submodule(theirs).register_forward_hook(lambda _, args, out, n=ours: keep(n, out))
        for ours, theirs in hidden.items()
    ]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()

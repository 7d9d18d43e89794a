"""Healing: what is left of a pruned model learns, from the reference, to answer as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from slm_export.distillation import LOSSES, Answers, Distilled, Part, distill
from slm_export.outputs import Tokens
from slm_export.pruning.sparse import put_zeros
from slm_export.tasks.encoder import feed

LEARNING_RATE = 1e-4
CACHED_BYTES = 300_000_000  # of the reference's answers; what is beyond is computed anew at each pass
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
    size: int,
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
    names, kind = tuple(task.OUTPUTS), LOSSES[task.TAUGHT_BY]

    def judge(expected: Answers, got: Answers, temperature: float) -> Any:
        return sum(kind(expected[n], got[n], temperature) for n in names) / len(names)

    def loss(expected: Answers, got: Answers, temperature: float) -> Any:
        inner = [LOSSES["vectors"](expected[n], got[n], temperature) for n in expected if n.startswith(HIDDEN)]
        return judge(expected, got, temperature) + sum(inner) / max(1, len(inner))

    same = {ours: ours for ours in hidden}
    try:
        return distill(
            student=lambda part: _answers(module, part, names, same),
            teacher=_Teacher(lambda part: _answers(reference, part, names, hidden)),
            parameters=parameters,
            samples=tokens,
            loss=loss,
            judge=judge,
            passes=passes,
            size=size,
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


class _Teacher:
    """The reference's answers, each part computed once as long as there is room to keep them."""

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

"""How far answers are from those they should be, as losses that a model can learn by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

Answers = dict[str, Any]  # tensors by the output's name
Loss = Callable[[Answers, Answers, float], Any]

ROWS = 64  # of logits that are compared at once


def distribution(expected: Any, got: Any, temperature: float) -> Any:
    """Mean KL divergence of softmax(got / t) from softmax(expected / t) over the last axis, nats, times t squared: so
    that gradients do not shrink with t. `expected` gets no gradient.

    Computed some rows at a time, with the gradient in the same pass: a vocabulary's logits are too many for autograd
    to keep half a dozen copies of.
    """
    return _divergence().apply(got, expected, temperature)


@cache
def _divergence() -> Any:
    import torch

    class Divergence(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, got: Any, expected: Any, temperature: float) -> Any:
            said, wanted = (x.detach().reshape(-1, x.shape[-1]) for x in (got, expected))
            gradient, total = torch.empty_like(said), torch.zeros((), dtype=said.dtype)
            for start in range(0, len(said), ROWS):
                rows = slice(start, start + ROWS)
                ours, theirs = (torch.log_softmax(x[rows] / temperature, -1) for x in (said, wanted))
                chances = theirs.exp()
                total += (chances * (theirs - ours)).sum()
                gradient[rows] = (ours.exp_() - chances) * (temperature / len(said))
            ctx.save_for_backward(gradient.reshape(got.shape))
            return total * (temperature**2 / len(said))

        @staticmethod
        def backward(ctx: Any, wanted: Any) -> Any:
            (gradient,) = ctx.saved_tensors
            return gradient * wanted, None, None

    return Divergence


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


def loss_of(outputs: Iterable[str], kind: str) -> Loss:
    """The mean over a task's outputs, each compared as LOSSES[kind] does."""
    names, compared = tuple(outputs), LOSSES[kind]

    def loss(expected: Answers, got: Answers, temperature: float) -> Any:
        return sum(compared(expected[n], got[n], temperature) for n in names) / len(names)

    return loss

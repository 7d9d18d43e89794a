"""`--prune`: what a user asks to have taken away."""

from __future__ import annotations

from collections.abc import Iterator

from slm_export.errors import UsageError, nearest
from slm_export.records import record

SHARES = ("ffn", "heads", "weights")
KINDS = (*SHARES, "layers")
MULTIPLE = (
    32  # neurons are kept in multiples of this: the group of int4 weights, and a whole number of vector registers
)


@record
class Asked:
    """Shares of the neurons of each feed-forward part, of the heads of each attention, and of each Linear's weights;
    and how many blocks. `by` is one of names.IMPORTANCES; `passes` over the texts that healing learns from, 0: none."""

    ffn: float = 0.0
    heads: float = 0.0
    layers: int = 0
    weights: float = 0.0
    by: str = "activation"
    passes: int = 0

    @property
    def structured(self) -> bool:
        return bool(self.ffn or self.heads or self.layers)

    def __str__(self) -> str:
        said = {kind: getattr(self, kind) for kind in ("ffn", "heads", "layers", "weights")}
        return ",".join(f"{kind}={value:g}" for kind, value in said.items() if value)


def parse(text: str, *, origin: str) -> Asked:
    """From "ffn=0.2,heads=0.1,layers=2,weights=0.3"; of these, what is wanted.

    Raises UsageError naming every part that cannot be read.
    """
    parts = [part.partition("=") for part in text.replace(" ", "").split(",")]
    problems = list(_problems(parts))
    if problems:
        raise UsageError(
            f"--prune {text!r} cannot be read",
            where=f"{origin}: {'; '.join(problems)}",
            next_step="write --prune ffn=0.2,heads=0.1,layers=2,weights=0.3, or some of these",
        )
    given = {kind: float(value) for kind, _, value in parts}
    ffn, heads, weights = (given.get(kind, 0.0) for kind in SHARES)
    return Asked(ffn=ffn, heads=heads, weights=weights, layers=int(given.get("layers", 0)))


def _problems(parts: list[tuple[str, str, str]]) -> Iterator[str]:
    kinds = [kind for kind, _, _ in parts]
    for kind, _, value in parts:
        if kind not in KINDS:
            yield f"there is no {kind!r}; {nearest(kind, KINDS)}"
        elif kinds.count(kind) > 1:
            yield f"{kind} is given twice"
        elif kind == "layers" and not (value.isdecimal() and int(value)):
            yield f"layers={value} is no number of blocks"
        elif kind in SHARES and not _is_share(value):
            yield f"{kind}={value} is no share: above 0 and below 1"


def _is_share(value: str) -> bool:
    try:
        return 0 < float(value) < 1
    except ValueError:
        return False


def kept_neurons(count: int, share: float) -> int:
    """How many of `count` neurons stay when `share` of them is to go: the nearest multiple of 32, 32 at least."""
    return min(count, max(MULTIPLE, MULTIPLE * round(count * (1 - share) / MULTIPLE)))


def kept_heads(count: int, share: float) -> int:
    """How many of `count` heads stay when `share` of them is to go: one at least."""
    return max(1, count - round(count * share))

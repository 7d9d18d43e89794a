"""The report's words about pruning: what went, and what healing brought back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slm_export.names import IMPORTANCES
from slm_export.pruning.facts import Kept, PruningFacts

LOSSES = {  # of healing, by how answers are taught
    "distribution": "KL divergence of the answers from the reference's, nats",
    "decisions": "KL divergence of the labels' decisions from the reference's, nats",
    "values": "squared difference to the reference's values",
    "vectors": "squared length of the difference to the reference's vectors, for each of theirs",
}


def pruning_lines(facts: PruningFacts | None) -> Iterator[str]:
    if facts is None:
        return
    yield ""
    yield "## Pruning"
    yield ""
    fewer = f"{facts.parameters_before:,} parameters became {facts.parameters:,}"
    if facts.parameters == facts.parameters_before:
        fewer = f"all {facts.parameters:,} parameters are still stored"
    yield f"--prune {facts.asked}: {fewer}. Artifacts are compared with the whole reference all the same."
    yield ""
    if facts.blocks_removed:
        yield f"- taken out, as least missed on the calibration set: {', '.join(facts.blocks_removed)}"
    yield from _kept("neurons", facts.neurons, facts.by)
    yield from _kept("heads", facts.heads, facts.by)
    if facts.zeros:
        yield f"- zero: {facts.zeros:.1%} of the Linears' weights, those of least magnitude in each"
    if facts.deflated:
        sizes = (size / 1e6 for size in (facts.deflated.plain, facts.deflated.before, facts.deflated.after))
        yield "- these weights as int8: {:.2f} MB; deflated {:.2f} MB before and {:.2f} MB with the zeros".format(
            *sizes
        )
    healing = facts.healing
    if healing is None:
        yield "- not healed"
        return
    yield (
        f"- healed in {healing.steps} steps on {healing.samples} texts; on {healing.judged} others the "
        f"{LOSSES[facts.learned_by]}: {healing.before:.4g} before, {healing.after:.4g} after"
    )


def _kept(what: str, parts: Mapping[str, Kept], by: str) -> Iterator[str]:
    if parts:
        before, after = (sum(getattr(kept, when) for kept in parts.values()) for when in ("before", "after"))
        yield f"- {what}: {after} of {before} kept in {len(parts)} parts, by {by} ({IMPORTANCES[by]})"

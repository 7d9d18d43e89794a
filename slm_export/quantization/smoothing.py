"""Smoothing: where int8 weights are given int8 activations, a few features many times as large as the rest leave those
few steps. Part of their size goes into the weights' columns instead.

Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2022; here each
exponent is the one whose outputs, both quantized, are nearest to the float ones. SmolLM2's KL divergence with int8 rows
and tokens goes from .023 to .011.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from slm_export.quantization import activations
from slm_export.quantization.blocks import Run, find_chains, run_block
from slm_export.quantization.folding import apply, best_scale, find_folds
from slm_export.quantization.moments import inputs_of, rows_of
from slm_export.quantization.weights import quantize
from slm_export.quantplan import LayerPlan

ROWS = 1024  # of a layer's inputs, that say which scale is best


def smooth(
    module: Any, plan: Mapping[str, LayerPlan], runs: Sequence[Run], progress: Callable[[int, int], None]
) -> None:
    """Scale what 8-bit Linears of chains of blocks are given, in place: the module answers as before. `runs` run it on
    calibration samples. Inputs are taken to be quantized by token, or by the plan's groups where it has some."""
    chains = find_chains(module, runs)
    done, total = 0, sum(len(chain.names) for chain in chains)
    for chain in chains:
        hidden = list(chain.first)
        for name in chain.names:
            block = module.get_submodule(name)
            mine = {n.removeprefix(f"{name}."): p for n, p in plan.items() if n.startswith(f"{name}.")}
            calls = [calls[name] for calls in chain.calls]
            hidden = _smooth(
                block, mine, [partial(run_block, block, *pair) for pair in zip(hidden, calls, strict=True)]
            )
            done += 1
            progress(done, total)


def _smooth(block: Any, plan: Mapping[str, LayerPlan], runs: Sequence[Run]) -> list[Any]:
    """Gives what the block made in each run."""
    folds = [f for f in find_folds(block, runs[0]) if set(f.consumers) <= set(plan)]
    rows: dict[str, list[Any]] = {f.consumers[0]: [] for f in folds}
    made = []
    for run in runs:
        given, out = inputs_of(block, list(rows), run)
        made.append(out)
        for name, parts in given.items():
            rows[name].append(_some(rows_of(parts), most=max(1, ROWS // len(runs))))
    for fold in reversed(folds):  # the last to run first: its scale goes into a Linear that another one is folded into
        weights = [block.get_submodule(n).weight.detach() for n in fold.consumers]
        x = rows_of(rows[fold.consumers[0]])
        error = partial(_error, weights, x, group=plan[fold.consumers[0]].group)
        apply(block, fold, best_scale((x**2).mean(0).sqrt(), error))
    return made


def _some(rows: Any, *, most: int) -> Any:
    """Rows from all over, the first among them: language models' largest activations are at a text's first token."""
    return rows[:: -(-len(rows) // most)].clone()


def _error(weights: Sequence[Any], rows: Any, scale: Any, *, group: int | None) -> float:
    """The squared errors of the outputs, summed, when scaled weights and inputs are both quantized."""
    quantized = activations.function("per-block" if group else "per-token", rows.shape[1], group)
    assert quantized is not None
    given = quantized(rows / scale)
    rounded = (quantize(w * scale, group=group).dequantized() for w in weights)
    return sum(float(((given @ r.T - rows @ w.T) ** 2).sum()) for w, r in zip(weights, rounded, strict=True))

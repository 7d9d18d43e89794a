"""From a plan to integers: the model's Linears and Embeddings rounded, with calibration samples where there are any.

8-bit weights, and lookups, are rounded to nearest: on MiniLM that costs a cosine of .0004, and nothing improved it
measurably. Where `runs` are given, what they are multiplied with is smoothed before (smoothing.py). 4-bit Linears are
rounded in one of names.ROUNDINGS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any, Protocol

from slm_export.errors import ExportError
from slm_export.quantization.blocks import Call, Run, find_chains, run_block
from slm_export.quantization.folding import Fold, apply, best_scale, find_folds, weight_error
from slm_export.quantization.gptq import output_error, quantize_gptq
from slm_export.quantization.moments import Moments, Sums, scaled
from slm_export.quantization.smoothing import smooth
from slm_export.quantization.weights import QuantizedTensor, quantize, quantize_searched
from slm_export.quantplan import LayerPlan, QuantPlan
from slm_export.records import record

Progress = Callable[[int, int], None]


@record
class Rounded:
    """The integers by layer, and the float parameters that folding changed, by their qualified name. Of 4-bit layers
    `wider` are the same weights in 8 bits, and `errors` the mean squared error that 4 bits make in a layer's outputs,
    for each of its weights; without calibration samples the weights' own."""

    tensors: dict[str, QuantizedTensor]
    floats: dict[str, Any]
    wider: dict[str, QuantizedTensor] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)


class Steps(Protocol):
    """Where finished blocks are kept, so that an interrupted rounding goes on: see checkpoints.py."""

    def get(self, name: str) -> Rounded | None: ...

    def put(self, name: str, rounded: Rounded) -> None: ...


def round_weights(
    module: Any,
    plan: QuantPlan,
    rounding: str,
    runs: Sequence[Run] = (),
    progress: Progress = lambda done, total: None,
    steps: Steps | None = None,
    int8_group: int | None = None,
    follow: bool = True,
) -> Rounded:
    """Integers and scales of every layer of the plan with 8 bits or fewer; `int8_group` is that of the wider ones.

    Of a plan without 4-bit layers, `runs` say how to smooth what they are given.

    With `follow`, blocks are judged by what rounded ones before them give, and make up for half of what that changed;
    else by what they are given in the float model.

    `runs` run the module on calibration samples, some at a time; without any, `rounding` is "rtn" or "mse". The module
    is given up: some of its weights are other ones afterwards. Raises ExportError naming a layer that holds NaN.
    """
    import torch

    work = {n: p for n, p in plan.layers.items() if p.bits <= 8}
    before = _others(module, work)
    with torch.no_grad():
        rounder = _Rounder(module, work, rounding, steps, int8_group, follow)
        narrow = any(p.bits == 4 for p in work.values())
        if runs and not narrow:
            smooth(module, work, runs, progress)
        rounder.round_all("", [n for n, p in work.items() if p.bits == 8])
        if runs and narrow and rounding != "rtn":
            rounder.block_by_block(runs, progress)
        else:
            rounder.round_all("", [n for n, p in work.items() if p.bits == 4])
    floats = {n: p.clone() for n, p in _others(module, work).items() if not torch.equal(p, before[n])}
    return Rounded(
        tensors={n: rounder.made[n] for n in work}, floats=floats, wider=rounder.wider, errors=rounder.errors
    )


def _others(module: Any, work: Mapping[str, LayerPlan]) -> dict[str, Any]:
    """The parameters that stay float; the weights of the others would be kept twice if these held them."""
    kept = {f"{name}.weight" for name in work}
    return {n: p.detach() for n, p in module.named_parameters() if n not in kept}


class _Rounder:
    """Rounds layers of a module, at once or block after block, each given what the rounded ones before it make."""

    def __init__(
        self,
        module: Any,
        work: Mapping[str, LayerPlan],
        rounding: str,
        steps: Steps | None,
        int8_group: int | None,
        follow: bool,
    ) -> None:
        self.module, self.work, self.rounding, self.steps = module, work, rounding, steps
        self.int8_group, self.follow = int8_group, follow
        self.made: dict[str, QuantizedTensor] = {}
        self.wider: dict[str, QuantizedTensor] = {}
        self.errors: dict[str, float] = {}

    def block_by_block(self, runs: Sequence[Run], progress: Progress) -> None:
        """The 4-bit layers of chains of blocks, then those outside of them."""
        chains = find_chains(self.module, runs)
        done, total = 0, sum(len(chain.names) for chain in chains) + 1
        for chain in chains:
            wanted, shifted = list(chain.first), list(chain.first)
            for name in chain.names:
                self._block(f"{name}.", [calls[name] for calls in chain.calls], wanted, shifted)
                done += 1
                progress(done, total)
        inside = tuple(f"{name}." for chain in chains for name in chain.names)
        for name in self.work:
            if not name.startswith(inside) and name in self.made:
                self._put(name)
        left = [n for n in self.work if n not in self.made]
        sums = Sums(self.module, left)
        for run in runs if left else ():
            sums.add(run)
        self.round_all("", left, sums.moments())
        progress(total, total)

    def _block(self, prefix: str, calls: Sequence[Call], wanted: list[Any], shifted: list[Any]) -> None:
        """Round one block, and take both kinds of hidden states through it: what float blocks make of each other and
        what rounded ones do."""
        block = self.module.get_submodule(prefix[:-1])
        mine = [n.removeprefix(prefix) for n in self.work if n.startswith(prefix)]
        left = [n for n in mine if prefix + n not in self.made]
        before = {n: p.detach() for n, p in block.named_parameters()}
        stored = self.steps.get(prefix) if self.steps else None
        if stored is not None:
            for i, call in enumerate(calls):
                wanted[i] = run_block(block, wanted[i], call)
            self._take(stored)
        else:
            folds = self._folds(block, prefix, left, partial(run_block, block, wanted[0], calls[0]))
            sums = Sums(block, left)
            for i, call in enumerate(calls):
                run, aim = partial(run_block, block, shifted[i], call), partial(run_block, block, wanted[i], call)
                if self.follow:
                    wanted[i], _ = sums.add(run, aim)
                else:
                    _, wanted[i] = sums.add(aim)
            self.round_all(prefix, left, self._folded(block, prefix, sums.moments(), folds))
            self._keep(block, prefix, left, before)
        for n in mine:
            self._put(prefix + n)
        for i, call in enumerate(calls) if self.follow else ():
            shifted[i] = run_block(block, shifted[i], call)

    def _keep(self, block: Any, prefix: str, names: Sequence[str], before: Mapping[str, Any]) -> None:
        if self.steps is None:
            return
        import torch

        full = [prefix + n for n in names]
        floats = {
            prefix + n: p.detach()
            for n, p in block.named_parameters()
            if n.removesuffix(".weight") not in names and not torch.equal(p.detach(), before[n])
        }
        mine = Rounded(
            tensors={n: self.made[n] for n in full},
            floats=floats,
            wider={n: self.wider[n] for n in full},
            errors={n: self.errors[n] for n in full},
        )
        self.steps.put(prefix, mine)

    def _take(self, stored: Rounded) -> None:
        """What a block came to in a run that was interrupted later."""
        self.made |= stored.tensors
        self.wider |= stored.wider
        self.errors |= stored.errors
        for name, value in stored.floats.items():
            self.module.get_parameter(name).data = value

    def _put(self, name: str) -> None:
        self.module.get_submodule(name).weight.data = self.made[name].dequantized()

    def _folds(self, block: Any, prefix: str, left: Sequence[str], run: Run) -> tuple[Fold, ...]:
        """Those into layers that are still float."""
        if self.rounding != "awq+gptq":
            return ()
        folds = find_folds(block, run)
        return tuple(f for f in folds if set(f.consumers) <= set(left) and prefix + f.producer not in self.made)

    def _folded(
        self, block: Any, prefix: str, moments: dict[str, Moments], folds: Sequence[Fold]
    ) -> dict[str, Moments]:
        """The last to run is folded first: its scale goes into a Linear that is to be rounded itself."""
        for fold in reversed(folds):
            plan = self.work[prefix + fold.consumers[0]]
            weights = [block.get_submodule(n).weight.detach() for n in fold.consumers]
            hessian = moments[fold.consumers[0]].hessian
            error = partial(weight_error, weights, hessian, bits=plan.bits, group=plan.group)
            scale = best_scale(hessian.diagonal().sqrt(), error)
            apply(block, fold, scale)
            moments = moments | {n: scaled(moments[n], scale) for n in fold.consumers}
        return moments

    def round_all(self, prefix: str, names: Sequence[str], moments: Mapping[str, Moments] | None = None) -> None:
        for name in names:
            self._round(prefix + name, (moments or {}).get(name))

    def _round(self, name: str, moments: Moments | None) -> None:
        weight, bits, group = (
            self.module.get_submodule(name).weight.detach(),
            self.work[name].bits,
            self.work[name].group,
        )
        try:
            if bits == 8:
                self.made[name] = quantize(weight, group=group)
                return
            self.wider[name] = quantize(weight, group=self.int8_group)  # 4-bit layers' widths divide by it
            if self.rounding == "rtn":
                made = quantize(weight, bits=bits, group=group)
            elif self.rounding == "awq+gptq" and moments:
                made = quantize_gptq(weight, moments.hessian, bits=bits, group=group, shift=moments.shift)
            else:
                importance = moments.hessian.diagonal() if moments else None
                made = quantize_searched(weight, bits=bits, group=group, importance=importance)
        except ValueError as err:
            raise ExportError(f"layer {name} cannot be quantized: {err}", where=name) from err
        self.made[name] = made
        change = weight - made.dequantized()
        error = output_error(change, moments.hessian) if moments else float((change**2).sum())
        self.errors[name] = error / weight.numel()

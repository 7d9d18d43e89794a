"""Static ranges of activations, found on the calibration set, and which tensors are better left without one.

Encoders have massive activations: on MiniLM one channel of one token is a hundred times the median, and eight bits over
such a range leave nothing for the rest. Neither clipping nor another way of choosing the range mends it (tried:
percentiles, moving averages, least squares). So every tensor's harm is measured alone, and the worst stay float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

from slm_export.errors import ExportError
from slm_export.metrics import IMPOSSIBLE
from slm_export.outputs import Tokens, all_rows
from slm_export.quantization.points import arguments, layers, masking, points, source
from slm_export.quantization.schemes import most_harmed
from slm_export.quantplan import QuantPlan, StaticRange
from slm_export.records import record

SOFTMAX = StaticRange(scale=1 / 256, zero_point=-128)  # LiteRT's kernel takes no other, and it fits 0 to 1
MASKED = -1e3  # a tensor that padding lowers by so much holds the mask: int8 could not tell it from the rest
NEVER = -1e30  # so does one with such values, of a window of attention for example
JUDGING = 32  # calibration samples that harm is measured on: one run of them for every tensor
TOLERANCE = 4  # of the task's tolerated harm. On MiniLM/Banking77 it leaves 25 of 93 tensors float

See = Callable[[str, Any], Any]


@record
class Ranges:
    """By point: its range, and what quantizing it alone does to the answers. `masked` are points that hold the mask and
    have none."""

    found: dict[str, StaticRange]
    harm: dict[str, float]
    masked: tuple[str, ...] = ()


def find(
    module: Any,
    task: ModuleType,
    tokens: Sequence[Tokens],
    *,
    bits: int,
    pad_id: int,
    progress: Callable[[int, int], None],
) -> Ranges:
    """Of a traced graph. Left out: what does not depend on the text, and what holds the mask or is to hold it next."""
    watched = points(module)
    names = {node.name: name for name, node in watched.items()}
    longest = max(tokens, key=lambda t: len(t.input_ids))
    depending, masked = set(_depending(module, names, longest)), _masked(module, names, longest, pad_id)
    seen = _Extremes(depending - masked)
    run = _Watched(module, names, seen)
    task.run(run, [*tokens, *_shortest(tokens)])
    found = {
        name: SOFTMAX if bits == 8 and name.partition("#")[0].endswith("softmax") else _range(*seen.of[name], bits)
        for name in watched
        if name in seen.of
    }
    few = [*tokens[:JUDGING], *_shortest(tokens)]
    expected = all_rows(task.run(run, few), fill=IMPOSSIBLE)
    harm = {}
    for done, (name, range_) in enumerate(found.items(), 1):
        alone = _Watched(module, names, partial(_quantized, name, range_))
        harm[name] = task.harm(expected, all_rows(task.run(alone, few), fill=IMPOSSIBLE))
        progress(done, len(found))
    return Ranges(found=found, harm=harm, masked=tuple(name for name in watched if name in depending & masked))


def _shortest(tokens: Sequence[Tokens]) -> list[Tokens]:
    """A text of one token, which has activations like no other, and which an app will ask some day."""
    return [Tokens(input_ids=tokens[0].input_ids[:1])]


def _quantized(point: str, range_: StaticRange, name: str, x: Any) -> Any:
    return fake(x, range_) if name == point else x


def _keep(values: dict[str, Any], name: str, x: Any) -> Any:
    return values.setdefault(name, x)


def fake(x: Any, range_: StaticRange) -> Any:
    """Float32 to the range's integers and back."""
    ints = (x / range_.scale).round() + range_.zero_point
    return (ints.clamp(range_.lowest, range_.highest) - range_.zero_point) * range_.scale


def settle(module: Any, plan: QuantPlan, ranges: Ranges, tolerated: float) -> QuantPlan:
    """The plan with ranges. A Linear between two of them becomes static; others find their ranges at run time, and what
    only those read needs none.

    Raises ExportError for a layer that the graph does not compute as the model does, such as MobileBERT's lookup, and
    if no Linear is left that could be static.
    """
    _require_found(plan, set(layers(module, plan.layers).values()))
    floats = most_harmed(ranges.harm, tolerated)
    named = points(module)
    chosen = {named[n]: n for n in ranges.found if n not in floats}
    called = {node: name for node, name in layers(module, plan.layers).items() if _is_linear(node)}
    while True:
        static = {
            node for node, name in called.items()
            if plan.layers[name].bits == 8 and node in chosen and source(node.args[0]) in chosen
        }  # fmt: skip
        dynamic = {name for node, name in called.items() if node not in static}  # a shared one is static throughout
        static = {node for node in static if called[node] not in dynamic}
        unread = [node for node in chosen if all(user in called and user not in static for user in _readers(node))]
        if not unread:
            break
        for node in unread:
            del chosen[node]
    if not static:
        raise ExportError(
            "no layer of this model is left to compute with static ranges",
            where=f"{len(floats)} of {len(ranges.found)} tensors would do too much harm in so few bits",
            next_step="take --scheme w8a8-dynamic, or other calibration texts",
        )
    names = {called[node] for node in static}
    return QuantPlan(
        scheme=plan.scheme,
        layers={n: replace(p, activations="static") if n in names else p for n, p in plan.layers.items()},
        ranges={name: ranges.found[name] for name in named if named[name] in chosen},
        kept_float={name: ranges.harm[name] for name in named if name in floats},
        masked=ranges.masked,
    )


def _require_found(plan: QuantPlan, found: set[str]) -> None:
    missing = [name for name, layer in plan.layers.items() if layer.bits <= 8 and name not in found]
    if missing:
        raise ExportError(
            "static ranges do not know this model",
            where=missing[0],
            why="its exported graph computes this layer another way",
            next_step="take --scheme w8a8-dynamic",
        )


def _readers(node: Any) -> list[Any]:
    """Who computes with a point's values, moved or not."""
    return [r for user in node.users for r in ([user] if source(user) is user else _readers(user))]


def _is_linear(node: Any) -> bool:
    return str(node.target).startswith("aten.linear")


def _range(low: float, high: float, bits: int) -> StaticRange:
    """Zero is one of the values, as every kernel asks."""
    import numpy as np

    low, high = min(low, 0.0), max(high, 0.0)
    steps = (1 << bits) - 1
    scale = float(np.float32(max((high - low) / steps, 1e-9)))
    zero = round(-low / scale) - (1 << (bits - 1))
    return StaticRange(scale=scale, zero_point=min(zero, (1 << (bits - 1)) - 1), bits=bits)


class _Extremes:
    """The smallest and largest value of every point in `names`."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.of: dict[str, tuple[float, float]] = {}

    def __call__(self, name: str, x: Any) -> Any:
        if name in self.names:
            low, high = self.of.get(name, (0.0, 0.0))
            self.of[name] = (min(low, float(x.min())), max(high, float(x.max())))
        return x


def _depending(module: Any, names: Mapping[str, str], sample: Tokens) -> list[str]:
    """The points that another text of the same length changes."""
    import torch

    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    for kept, shift in ((first, 0), (second, 1)):
        ids = torch.tensor([sample.input_ids])
        ids += shift * torch.where(ids > 0, -1, 1) * (torch.arange(ids.shape[1]) % 2)
        _run(module, names, partial(_keep, kept), ids, torch.ones_like(ids))
    return [name for name in first if not torch.equal(first[name], second[name])]


def _masked(module: Any, names: Mapping[str, str], sample: Tokens, pad_id: int) -> set[str]:
    """The points where padding shows as a huge negative number, there or where it is put in next: LiteRT's converter
    puts it into their integers. Activations may be huge too, with and without it."""
    import torch

    names = dict(names) | masking(module)
    ids = torch.tensor([[*sample.input_ids, pad_id]])
    padded, whole = _Extremes(set(names.values())), _Extremes(set(names.values()))
    _run(module, names, padded, ids, (torch.arange(ids.shape[1]) < len(sample.input_ids)).long()[None])
    _run(module, names, whole, ids, torch.ones_like(ids))
    lows = {name: (low, whole.of[name][0]) for name, (low, _) in padded.of.items()}
    return {name for name, (low, before) in lows.items() if low < min(before, 0.0) + MASKED or low < NEVER}


class _Watched:
    """A traced graph, called as a transformers model is; `see` gets every point's value and says what goes on."""

    def __init__(self, module: Any, names: Mapping[str, str], see: See) -> None:
        self._module, self._names, self._see = module, names, see

    def __call__(self, **inputs: Any) -> Any:
        return _run(self._module, self._names, self._see, *inputs.values())


def _run(module: Any, names: Mapping[str, str], see: See, *inputs: Any) -> Any:
    import torch

    class Watching(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            value = super().run_node(node)
            return see(names[node.name], value) if node.name in names else value

    with torch.no_grad():
        return Watching(module).run(*arguments(module, inputs))

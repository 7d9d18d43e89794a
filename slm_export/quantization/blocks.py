"""Chains of blocks: the layers of a transformer, each given what the one before it made.

They are found by watching the model run, not by its architecture, and are then run one at a time, so that no more than
one block's inputs are held for every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from slm_export.records import record

Run = Callable[[], Any]

# What decoders' blocks are given to remember the past by: a block that ran once would see itself there.
WITHOUT_CACHE = {"past_key_values": None, "past_key_value": None, "layer_past": None, "use_cache": False}


@record
class Call:
    """What a block was called with beside its hidden states; masks and positions are shared by the blocks of a run."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@record
class Chain:
    """Blocks by name in the order they run; for each run of the model what they were called with, and the first one's
    hidden states."""

    names: tuple[str, ...]
    calls: tuple[dict[str, Call], ...]
    first: tuple[Any, ...]


def find_chains(module: Any, runs: Sequence[Run]) -> tuple[Chain, ...]:
    """Run the model and tell its chains of two blocks or more. Blocks that run twice, as ALBERT's, are in none.

    Each of `runs` is one call of the model. Raises ValueError where a block of a chain runs twice in one of them: of
    two samples that are run one after the other, the first would be lost.
    """
    chains = _linked(module, runs[0])
    whole = _calls(module, chains, runs[0])
    with _idle(module, whole.tuples):  # running every block of every run would take as long as rounding some of them
        quick = _same(whole.calls, _calls(module, chains, runs[0]).calls)
        others = [_calls(module, chains, run) for run in runs[1:]] if quick else []
    seen = [whole, *(others if quick else [_calls(module, chains, run) for run in runs[1:]])]
    return tuple(
        Chain(names=names, calls=tuple(s.calls for s in seen), first=tuple(s.first[names[0]] for s in seen))
        for names in chains
    )


def run_block(block: Any, hidden: Any, call: Call) -> Any:
    """The hidden states that a block makes of others."""
    return _output(block(hidden, *call.args, **call.kwargs))


def _linked(module: Any, run: Run) -> list[tuple[str, ...]]:
    """Names of blocks that run once, each given the very tensor that the one before it made."""
    names: list[str] = []
    given: list[Any] = []
    made: list[Any] = []

    def keep(name: str, args: Any, kwargs: Any, out: Any) -> None:
        names.append(name)
        given.append(_input(args, kwargs))
        made.append(_output(out))

    _watch(module, candidates(module), run, keep)
    chains: list[list[str]] = []
    for i, name in enumerate(names):
        if names.count(name) > 1:
            continue
        if i and chains and chains[-1][-1] == names[i - 1] and given[i] is made[i - 1]:
            chains[-1].append(name)
        else:
            chains.append([name])
    return [tuple(c) for c in chains if len(c) > 1]


@record
class _Seen:
    """Of one run, by block: what it was called with; of the first ones, their hidden states; and how many things it
    gave back, 0 where not as a tuple."""

    calls: dict[str, Call]
    first: dict[str, Any]
    tuples: dict[str, int]


def _calls(module: Any, chains: Sequence[tuple[str, ...]], run: Run) -> _Seen:
    seen = _Seen(calls={}, first={}, tuples={})

    def keep(name: str, args: Any, kwargs: Any, out: Any) -> None:
        if name in seen.calls:
            raise ValueError(f"{name} ran twice in one run")
        others = {k: WITHOUT_CACHE.get(k, v) for k, v in kwargs.items() if args or k != "hidden_states"}
        seen.calls[name] = Call(args=args[1:], kwargs=others)
        seen.tuples[name] = len(out) if isinstance(out, tuple) else 0
        if name in starts:
            seen.first[name] = _input(args, kwargs)

    starts = {names[0] for names in chains}
    _watch(module, [n for names in chains for n in names], run, keep)
    return seen


@contextmanager
def _idle(module: Any, blocks: Mapping[str, int]) -> Iterator[None]:
    """Within it, blocks hand their hidden states on untouched. What they are called with is then still the same, unless
    that depends on what others make, as T5's positions do, and its decoder's view of the encoder."""
    for name, count in blocks.items():
        module.get_submodule(name).forward = partial(_hand_on, count)
    try:
        yield
    finally:
        for name in blocks:
            del module.get_submodule(name).forward


def _hand_on(count: int, *args: Any, **kwargs: Any) -> Any:
    hidden = _input(args, kwargs)
    return (hidden, *[None] * (count - 1)) if count else hidden


def _same(one: Any, other: Any) -> bool:
    """Whether two calls are equal, to the last tensor in them; what cannot be told is not."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Call):
        return _same((one.args, one.kwargs), (other.args, other.kwargs))
    return bool(one is other or (isinstance(one, (bool, int, float, str)) and one == other))


def _watch(module: Any, names: Sequence[str], run: Run, keep: Callable[[str, Any, Any, Any], None]) -> None:
    hooks = [
        module.get_submodule(name).register_forward_hook(
            lambda _, args, kwargs, out, name=name: keep(name, args, kwargs, out), with_kwargs=True
        )
        for name in names
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()


def candidates(module: Any) -> list[str]:
    """Elements of lists of modules, with Linears in them, outermost lists first."""
    import torch

    found = [
        f"{name}.{number}"
        for name, holder in module.named_modules()
        if isinstance(holder, torch.nn.ModuleList)
        for number, part in enumerate(holder)
        if any(type(m) is torch.nn.Linear for m in part.modules())
    ]
    return [n for n in found if not any(n.startswith(f"{other}.") for other in found)]


def _input(args: Any, kwargs: Any) -> Any:
    return args[0] if args else kwargs.get("hidden_states")


def _output(out: Any) -> Any:
    return out[0] if isinstance(out, tuple) else out

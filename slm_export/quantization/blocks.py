"""Chains of blocks: the layers of a transformer, each given what the one before it made.

They are found by watching the model run, not by its architecture, and are then run one at a time, so that no more than
one block's inputs are held for every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    seen = [_calls(module, chains, run) for run in runs]
    return tuple(
        Chain(names=names, calls=tuple(calls for calls, _ in seen), first=tuple(first[names[0]] for _, first in seen))
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


def _calls(module: Any, chains: Sequence[tuple[str, ...]], run: Run) -> tuple[dict[str, Call], dict[str, Any]]:
    calls: dict[str, Call] = {}
    first: dict[str, Any] = {}

    def keep(name: str, args: Any, kwargs: Any, out: Any) -> None:
        if name in calls:
            raise ValueError(f"{name} ran twice in one run")
        others = {k: WITHOUT_CACHE.get(k, v) for k, v in kwargs.items() if args or k != "hidden_states"}
        calls[name] = Call(args=args[1:], kwargs=others)
        if name in starts:
            first[name] = _input(args, kwargs)

    starts = {names[0] for names in chains}
    _watch(module, [n for names in chains for n in names], run, keep)
    return calls, first


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

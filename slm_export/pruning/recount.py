"""What a causal model says of itself after pruning: exporters build caches and graphs by its config, not by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slm_export.errors import ExportError

if TYPE_CHECKING:
    from slm_export.pruning.surgery import Pruning

WIDTHS = ("intermediate_size", "n_inner")  # config's names of a feed-forward part's neurons


def recount(module: Any, pruning: Pruning) -> None:
    """Bring the config, and the blocks' numbers by which they find their caches, up to what is left. Other models than
    those that generate stay as they are: nobody asks their config.

    Raises ExportError where the config has one number for parts that are not alike any more.
    """
    if not getattr(module, "can_generate", lambda: False)():
        return
    if pruning.blocks:
        _renumber(module, pruning.blocks)
    for kind, put in (("ffn", _put_neurons), ("heads", _put_heads)):
        kept = {len(cut.kept) for cut in pruning.cuts if cut.units.kind == kind}
        if len(kept) > 1:
            raise ExportError(
                f"pruning leaves blocks of {', '.join(map(str, sorted(kept)))} {kind}: they must be alike"
            )
        if kept:
            put(module.config, kept.pop())


def _renumber(module: Any, gone: tuple[str, ...]) -> None:
    holder = module.get_submodule(gone[0].rpartition(".")[0])
    config, before = module.config, len(holder) + len(gone)
    numbers = {int(name.rpartition(".")[2]) for name in gone}
    for key, value in vars(config).items():  # what it says of each block
        if isinstance(value, list | tuple) and len(value) == before:
            setattr(config, key, type(value)(v for i, v in enumerate(value) if i not in numbers))
    config.num_hidden_layers = len(holder)
    for number, block in enumerate(holder):
        for part in block.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = number


def _put_neurons(config: Any, count: int) -> None:
    for name in WIDTHS:
        if getattr(config, name, None) is not None:
            setattr(config, name, count)


def _put_heads(config: Any, count: int) -> None:
    """Of attention in which each head has keys and values of its own; others have no heads that can go alone."""
    if getattr(config, "head_dim", None) is None:
        config.head_dim = config.hidden_size // config.num_attention_heads
    config.num_attention_heads = count
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = count

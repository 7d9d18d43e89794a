"""What the tasks of encoders share: the exported graph with its mask, and the eager run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from slm_export.outputs import Array, Matrices, Tokens
from slm_export.tasks import mobilebert

if TYPE_CHECKING:
    from slm_export.calibration import Sample

INPUTS = {"input_ids": ("batch", "sequence"), "attention_mask": ("batch", "sequence")}
SEGMENTS = "token_type_ids"  # a third input, of models of text pairs that tell the two apart
BATCH = 32
MASKED = -1e4  # added to the scores of padding; exp() of it is 0 in float32, and it survives int8 and float16
FAMILIES = (  # model types whose attention looks both ways, and which are tested
    "albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "mobilebert", "modernbert", "roberta",
    "xlm-roberta",
)  # fmt: skip
POSITIONS_AFTER_PAD = ("roberta", "xlm-roberta", "camembert")  # their positions start behind the padding's
OWN_MASK = ("deberta-v2", "modernbert")  # relative positions and windows: the model's own mask code is needed
Cut = Callable[[dict[str, Array], int, Tokens], Array]


def takes_segments(module: Any) -> bool:
    """Whether the model tells two texts apart by token_type_ids."""
    import inspect

    accepted = SEGMENTS in inspect.signature(module.forward).parameters
    return accepted and (getattr(module.config, "type_vocab_size", 0) or 0) > 1


def graph(module: Any, *, outputs: Sequence[str]) -> Any:
    """The torch module that exporters lower: (input_ids, attention_mask, and for pairs token_type_ids), all int64
    [batch, sequence], to the named outputs of the model.

    It hands the model a ready additive mask [batch, 1, 1, sequence] and positions as constants of the shape:
    transformers' own mask code lowers to integer index arithmetic that quantizers and old runtimes trip over.
    Segment ids that are no input are 0, as for any single text. A classifier in plain PyTorch brings its own graph:
    sources/classifier.py.
    """
    import inspect

    import torch

    if hasattr(module, "exported_graph"):
        return module.exported_graph()
    accepted = inspect.signature(module.forward).parameters
    pools = "token_mask" in accepted
    family = module.config.model_type
    positions = "position_ids" in accepted and family not in OWN_MASK
    first = module.config.pad_token_id + 1 if family in POSITIONS_AFTER_PAD else 0
    segments = SEGMENTS in accepted and family not in OWN_MASK

    class EncoderGraph(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model
            self.table = mobilebert.swap_embeddings(model) if family == "mobilebert" else None

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> dict[str, Any]:
            extra = {} if token_type_ids is None else {SEGMENTS: token_type_ids}
            if positions:
                extra["position_ids"] = torch.arange(input_ids.shape[1], device=input_ids.device)[None] + first
            if segments and token_type_ids is None:
                extra[SEGMENTS] = torch.zeros_like(input_ids[:1])
            if pools:
                extra["token_mask"] = attention_mask
            mask = attention_mask
            if family not in OWN_MASK:
                mask = ((1.0 - attention_mask.to(torch.float32)) * MASKED)[:, None, None, :]
            if self.table is None:
                extra["input_ids"] = input_ids
            else:
                extra["inputs_embeds"] = self.table(input_ids) * attention_mask[:, :, None].to(torch.float32)
            result = self.model(attention_mask=mask, **extra)
            return {name: result[name] for name in outputs}

    return EncoderGraph(module).eval()


def tokenize(tokenizer: Any, samples: Sequence[Sample], max_length: int | None) -> list[Tokens]:
    """Token ids of each text or pair, truncated, with the tokenizer's special tokens, unpadded."""
    encoded = encode(tokenizer, samples, max_length)
    types = encoded.get(SEGMENTS) if samples[0].pair is not None else None
    return [
        Tokens(input_ids=tuple(ids), token_type_ids=tuple(types[i]) if types else None)
        for i, ids in enumerate(encoded["input_ids"])
    ]


def encode(tokenizer: Any, samples: Sequence[Sample], max_length: int | None, **options: Any) -> Any:
    """What transformers' tokenizer makes of the samples' texts, or pairs; see its __call__ for `options`."""
    pairs = [s.pair for s in samples] if samples[0].pair is not None else None
    options = {"truncation": True, **options} if max_length else {**options, "truncation": False, "verbose": False}
    return tokenizer([s.text for s in samples], pairs, max_length=max_length, **options)


def retokenize(tokenizer: Any, sample: Any) -> list[int]:
    ids: list[int] = tokenizer.encode(sample.text, sample.pair).ids
    return ids


def run(
    module: Any,
    tokens: Sequence[Tokens],
    *,
    outputs: Sequence[str],
    cut: Cut,
    progress: Callable[[int], None] | None = None,
) -> Matrices:
    """The matrix of each sample from a transformers model, eager.

    Samples of one length run together, so there is no padding and every sample sees what it would see alone.
    """
    import torch

    out: dict[int, Array] = {}
    order = sorted(range(len(tokens)), key=lambda i: (len(tokens[i].input_ids), i))
    with torch.inference_mode():
        for _, same in groupby(order, key=lambda i: len(tokens[i].input_ids)):
            indices = list(same)
            for start in range(0, len(indices), BATCH):
                part = indices[start : start + BATCH]
                result = module(**feed([tokens[i] for i in part]))
                arrays = {name: result[name].float().numpy() for name in outputs}
                out.update((i, cut(arrays, row, tokens[i])) for row, i in enumerate(part))
                if progress:
                    progress(len(out))
    return tuple(out[i] for i in range(len(tokens)))


def feed(batch: Sequence[Tokens]) -> dict[str, Any]:
    """What the model takes for samples of one length."""
    import torch

    ids = torch.tensor([t.input_ids for t in batch], dtype=torch.int64)
    feed = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if all(t.token_type_ids is not None for t in batch):
        feed[SEGMENTS] = torch.tensor([t.token_type_ids for t in batch], dtype=torch.int64)
    return feed

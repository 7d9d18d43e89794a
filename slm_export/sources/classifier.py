"""A classifier in plain PyTorch as exporters and the reference run see it, and as a graph that takes padding."""

from __future__ import annotations

import copy
from typing import Any

import torch

from slm_export.errors import InputError, first_line
from slm_export.sources.padding import Eager, told

PROBE_LENGTH = 7  # tokens
CLOSE = 1e-4  # what padding may change of a logit: sums in another order change 1e-6


class PlainClassifier(torch.nn.Module):
    """forward(input_ids, attention_mask) -> {"logits": float [batch, labels]}, whatever the user's forward takes
    (`inputs`, by name) and gives.

    `zeros` is what pad_packed_sequence gives for padding, see sources/padding.py.
    """

    def __init__(self, model: Any, inputs: tuple[str, ...], pad_id: int) -> None:
        super().__init__()
        self.model, self.inputs, self.pad_id, self.zeros = model, inputs, pad_id, False

    def get_input_embeddings(self) -> Any:
        return next(m for m in self.model.modules() if isinstance(m, torch.nn.Embedding))

    def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        if input_ids.shape[1] == 0:
            raise InputError(
                "a text has no tokens, so the model cannot answer it",
                why="the tokenizer gives nothing for it, not even an unknown token",
                next_step="leave empty texts out, or give the tokenizer a post-processor that adds a first token",
            )
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "lengths" in self.inputs:
            given["lengths"] = attention_mask.sum(1)
        return {"logits": first_output(self.model(*(given[name] for name in self.inputs)))}

    def exported_graph(self) -> Any:
        """The torch module that exporters lower: (input_ids, attention_mask), both int64 [batch, sequence] and padded
        behind the text, to {"logits": float32 [batch, labels]}."""
        return _PaddedGraph(self).eval()


class _PaddedGraph(torch.nn.Module):
    def __init__(self, model: PlainClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        with told(attention_mask, self.model, zeros=self.model.zeros):
            return self.model(input_ids, attention_mask)


def first_output(result: Any) -> Any:
    """The logits of what a forward gave: a tensor, a dict's `logits` or first value, or the first of a tuple."""
    if isinstance(result, dict):
        return result["logits"] if "logits" in result else next(iter(result.values()), None)
    return result[0] if isinstance(result, tuple | list) and result else result


def check(classifier: PlainClassifier, *, labels: int, name: str) -> None:
    """Run the classifier on two made-up texts, and find out how it takes padding.

    Raises InputError if it fails, gives something else than `labels` logits, or answers differently where padded.
    """
    ids = _made_up(classifier)
    _require_logits(classifier, ids, labels=labels, name=name)
    short = len(ids[0]) // 2
    mask = torch.ones_like(ids)
    mask[1, short:] = 0
    with torch.inference_mode():
        alone = [
            classifier(ids[r : r + 1, :n], mask[r : r + 1, :n])["logits"] for r, n in enumerate((len(ids[0]), short))
        ]
        padded = ids.where(mask == 1, classifier.pad_id)
        for zeros in (False, True):
            classifier.zeros = zeros
            if torch.allclose(_answer_padded(classifier, padded, mask, name), torch.cat(alone), rtol=CLOSE, atol=CLOSE):
                return
    raise InputError(
        f"padding changes what the model of {name} answers",
        why="artifacts run on padded texts, and it computes with what is behind the last token",
        next_step="answer from h_n, y[:, -1] or y at lengths - 1, or take attention_mask and leave padding out with it",
    )


def _made_up(classifier: PlainClassifier) -> Any:
    rows = classifier.get_input_embeddings().num_embeddings
    ids = torch.tensor([i for i in range(min(rows, 4 * PROBE_LENGTH)) if i != classifier.pad_id])
    return torch.stack([ids[torch.arange(PROBE_LENGTH) * step % len(ids)] for step in (1, 3)])


def _require_logits(classifier: PlainClassifier, ids: Any, *, labels: int, name: str) -> None:
    try:
        with torch.inference_mode():
            got = classifier(ids, torch.ones_like(ids))["logits"]
    except Exception as err:  # whatever the user's forward raises
        raise InputError(
            f"the model of {name} fails when called with {', '.join(classifier.inputs)}",
            where=first_line(err),
            why="`inputs` in model.json must name what its forward takes, in order",
        ) from err
    wanted = [len(ids), labels]
    if not isinstance(got, torch.Tensor) or not got.is_floating_point() or list(got.shape) != wanted:
        kind = f"{got.dtype} {list(got.shape)}" if isinstance(got, torch.Tensor) else type(got).__name__
        raise InputError(
            f"the model of {name} gives {kind} where logits are expected: floating point {wanted}",
            why=f"it was given {len(ids)} texts, and model.json names {labels} labels",
            next_step="let forward give one logit for each label, first if it gives more than logits",
        )


def _answer_padded(classifier: PlainClassifier, ids: Any, mask: Any, name: str) -> Any:
    copied = copy.deepcopy(classifier)
    for path, layer in list(copied.named_modules()):
        if isinstance(layer, torch.nn.LSTM | torch.nn.GRU):
            parent, _, attribute = path.rpartition(".")
            setattr(copied.get_submodule(parent), attribute, Eager(layer))
    try:
        return copied.exported_graph()(ids, mask)["logits"]
    except InputError:
        raise
    except Exception as err:  # whatever the user's forward raises
        raise InputError(
            f"the model of {name} fails on padded texts",
            where=first_line(err),
            why="of packed sequences only pack_padded_sequence, the layers and pad_packed_sequence are followed",
        ) from err

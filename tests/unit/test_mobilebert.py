"""MobileBERT, rewritten for exporters, computes what transformers' computes."""

import copy

import pytest
import torch
import transformers

from slm_export import tasks
from slm_export.sources.embedder import Embedder
from slm_export.sources.sentence_transformers import EmbeddingHead
from slm_export.tasks.mobilebert import split_head

SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
SIZES |= {"true_hidden_size": 32, "intra_bottleneck_size": 32, "num_feedforward_networks": 1}
SIZES |= {"max_position_embeddings": 64}


def made(kind, **config):
    torch.manual_seed(0)
    return getattr(transformers, kind)(transformers.MobileBertConfig(**{**SIZES, **config})).eval()


def texts():
    ids = torch.randint(5, 40, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return ids, mask


@pytest.mark.parametrize("width", [16, 32])
def test_the_head_of_a_masked_lm_is_two_linears(width):
    module = made("MobileBertForMaskedLM", embedding_size=width)
    torch.nn.init.normal_(module.cls.predictions.dense.weight)
    ids, mask = texts()
    with torch.no_grad():
        expected = module(ids, attention_mask=mask).logits
        split_head(module)
        found = module(ids, attention_mask=mask).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    head = module.cls.predictions
    assert head.decoder.weight is module.mobilebert.embeddings.word_embeddings.weight
    assert (head.rest is None) == (width == 32)


def test_an_embedder_exports_what_it_computes(tmp_path):
    head = EmbeddingHead(pooling="mean", dense=(), normalize=True, max_tokens=None, similarity="cosine")
    module = Embedder(made("MobileBertModel", embedding_size=32), head, tmp_path)
    ids, mask = texts()
    graph = tasks.get("feature-extraction").graph(copy.deepcopy(module))
    with torch.no_grad():
        expected = module(ids[1:, :6], mask[1:, :6])["sentence_embedding"]
        (found,) = graph(ids, mask).values()
    torch.testing.assert_close(found[1:], expected, rtol=1e-5, atol=1e-6)

"""Tasks: for each, the graph that is exported, what goes in, what comes out, the answer, and how answers are compared.

Each module has

    AUTO_CLASS                                transformers' class that loads such a model
    SAMPLES                                   what its data files hold: a kind of calibration/samples.py
    INPUTS, OUTPUTS                           {name: dimensions}, in the order of a .pte's arguments
    graph(module)                             the torch module that exporters lower
    tokenize(tokenizer, samples, max_length)  -> Tokens of each sample
    retokenize(tokenizer, sample)             -> the ids that tokenizer.json alone gives
    cut(outputs, row, tokens)                 -> the matrix [rows, width] that is the sample's, without padding
    TOLERATED_HARM                            how much of it activations may do before some get a finer granularity
    harm(expected, got)                       -> how far rows [rows, width] lie from what they should be, 0 and up
    answer(matrix, tokens, labels)            -> the answer as JSON holds it
    margin(matrix, tokens)                    -> how safe the answer is against rounding
    settings(source)                          what an app must know beside the labels, for the manifest
    measure(judged)                           -> Measured

A task of GENERATING has several graphs, which exporters take from seq2seq_graphs.py, and in place of graph and cut

    FAMILIES                                  the model types whose graphs there are
    rules(module, max_length)                 -> generation.Rules
    teach(module, tokens, rules, progress)    -> the samples with the reference's answers
    execute(decoder, tokens, rules)           -> the matrix of a sample, told the answer, and the artifact's own answer
    wanted(samples), text_decoder(path)       -> the answers a data file holds, and token ids to text

and imports nothing but numpy at its top, so that verify can tell answers.
"""

from __future__ import annotations

import importlib
from types import ModuleType

TASKS = {
    "text-classification": "slm_export.tasks.text_classification",
    "token-classification": "slm_export.tasks.token_classification",
    "feature-extraction": "slm_export.tasks.feature_extraction",
    "text2text-generation": "slm_export.tasks.text2text_generation",
}
GENERATING = frozenset({"text2text-generation"})  # an encoder and a decoder: several graphs, and generation.Rules
HEADS = {  # the end of an architecture's name -> task
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForConditionalGeneration": "text2text-generation",
    "MTModel": "text2text-generation",
}


def get(task: str) -> ModuleType:
    return importlib.import_module(TASKS[task])

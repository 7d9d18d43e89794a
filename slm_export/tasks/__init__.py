"""Tasks: for each, the graph that is exported, what goes in, what comes out, the answer, and how answers are compared.

A task's name is Optimum's; behind a slash, where its heads answer differently, the kind of head. Each module has

    AUTO_CLASS                                transformers' class that loads such a model
    SAMPLES                                   what its data files hold: a kind of calibration/kinds.py
    MOST_SAMPLES                              how many rows of the evaluation file judge; None: all
    TRUNCATION                                which of a pair's texts is cut: "longest_first", "only_second"
    INPUTS, OUTPUTS                           {name: dimensions}, in the order of a .pte's arguments
    GOLDEN_COLUMNS                            how many columns of an output golden vectors keep; None: all
    graph(module)                             the torch module that exporters lower
    run(module, tokens, progress=)            -> the reference's matrices, eager and unpadded
    tokenize(tokenizer, samples, max_length)  -> Tokens of each sample; None: not truncated
    retokenize(tokenizer, sample)             -> the ids that tokenizer.json alone gives
    cut(outputs, row, tokens)                 -> the matrix [rows, width] that is the sample's, without padding
    TOLERATED_HARM                            how much of it activations may do before some get a finer granularity
    TAUGHT_BY                                 how a changed model learns these outputs: one of distillation.LOSSES
    LOSS                                      what an accuracy budget counts: the first of these that was measured
    harm(expected, got)                       -> how far rows [rows, width] lie from what they should be, 0 and up
    answer(matrix, tokens, labels)            -> the answer as JSON holds it
    margin(matrix, tokens)                    -> how safe the answer is against rounding
    settings(source)                          what an app must know beside the labels, for the manifest
    measure(judged)                           -> Measured

A task of GENERATING has in place of graph and cut

    rules(module, max_length)                 -> generation.Rules
    teach(module, tokens, rules, progress)    -> the samples with what of the reference's logits is compared, and run's
                                                 matrices of them
    execute(decoder, tokens, rules)           -> the matrix of a sample, told the answer, and the artifact's own answer
    surest(tokens, reference, artifacts)      -> the sample for golden vectors, and the rows of the matrix that it keeps

one of CAUSAL

    surest(tokens, reference, artifacts)      -> the sample with fewer steps, and their rows, for golden vectors

and an encoder-decoder, whose graphs exporters take from seq2seq_graphs.py, in place of TAUGHT_BY

    FAMILIES                                  the model types whose graphs there are
    wanted(samples)                           -> the answers a data file holds
    say(module, tokens, rules)                -> a torch module's own answers

and imports nothing but numpy at its top, so that verify can tell answers.
"""

from __future__ import annotations

import importlib
from types import ModuleType

TASKS = {
    "text-classification": "slm_export.tasks.text_classification",
    "text-classification/multi-label": "slm_export.tasks.multi_label",
    "text-classification/regression": "slm_export.tasks.regression",
    "token-classification": "slm_export.tasks.token_classification",
    "question-answering": "slm_export.tasks.question_answering",
    "fill-mask": "slm_export.tasks.fill_mask",
    "feature-extraction": "slm_export.tasks.feature_extraction",
    "feature-extraction/hidden-states": "slm_export.tasks.hidden_states",
    "text2text-generation": "slm_export.tasks.text2text_generation",
    "text-generation": "slm_export.tasks.text_generation",
}
ENCODER_DECODERS = frozenset({"text2text-generation"})
CAUSAL = frozenset({"text-generation"})
GENERATING = ENCODER_DECODERS | CAUSAL  # a decoder with a cache: several graphs or one of its own, and generation.Rules
HEADS = {  # the end of an architecture's name -> task
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForConditionalGeneration": "text2text-generation",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "MTModel": "text2text-generation",
    "Model": "feature-extraction",
}
# Whose answers are numbers of any size, not logits.
VALUES = frozenset({"text-classification/regression", "feature-extraction", "feature-extraction/hidden-states"})
LABELLED = ("text-classification", "text-classification/multi-label", "token-classification")


def get(task: str) -> ModuleType:
    return importlib.import_module(TASKS[task])


def split(task: str) -> tuple[str, str | None]:
    """Optimum's name, and the kind of head if the task names one."""
    name, _, head = task.partition("/")
    return name, head or None

"""A .litertlm: a converted causal model with its tokenizer, template and stop tokens, for LiteRT-LM."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from slm_export import litertlm
from slm_export.errors import ExportError, first_line
from slm_export.exporters.common import ExportRequest
from slm_export.generation import Sampling

# LiteRT-LM gives a message's content as a list of parts, where most templates want text.
PARTS_AS_TEXT = (
    "{%- set given = namespace(messages=[]) -%}"
    "{%- for message in messages -%}"
    "{%- if message['content'] is string or not message['content'] -%}"
    "{%- set given.messages = given.messages + [message] -%}"
    "{%- else -%}"
    "{%- set said = namespace(text='') -%}"
    "{%- for part in message['content'] -%}{%- set said.text = said.text ~ part['text'] -%}{%- endfor -%}"
    "{%- set given.messages = given.messages + [{'role': message['role'], 'content': said.text}] -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- set messages = given.messages %}"
)
MODEL_TYPES = {"gemma3_text": "gemma3", "qwen2": "qwen2p5", "qwen3": "qwen3"}  # what LiteRT-LM knows more of
EVERY_TOKEN = 1_000_000  # a top k that leaves none out
NOT_RANDOM = {"uuid": "00000000-0000-0000-0000-000000000000", "creation_timestamp": "1980-01-01T00:00:00+00:00"}


def pack(model: Path, request: ExportRequest, config: Any) -> Path:
    """Make the .tflite `model` a .litertlm, beside it, in its place. The same model gives the same bytes.

    Raises ExportError if litert-lm-builder fails.
    """
    import litert_lm_builder as builder
    from litert_lm_builder import litertlm_builder

    target, tokenizer = model.with_suffix(litertlm.SUFFIX), Path(request.tokenizer or "") / "tokenizer.json"
    text = builder.DType.STRING
    entries = [builder.Metadata(key=key, value=value, dtype=text) for key, value in NOT_RANDOM.items()]
    random, litertlm_builder.populate_system_metadata = litertlm_builder.populate_system_metadata, lambda _: entries
    try:
        with tempfile.TemporaryDirectory() as scratch, target.open("wb") as file:
            told = Path(scratch, "llm_metadata.pb")
            told.write_bytes(_metadata(request, config).SerializeToString(deterministic=True))
            made = builder.LitertLmFileBuilder()
            made.add_llm_metadata(str(told))
            made.add_hf_tokenizer(str(tokenizer))
            made.add_tflite_model(str(model), builder.TfLiteModelType.PREFILL_DECODE)
            made.build(file)
    except Exception as err:  # the builder raises FileNotFoundError, ValueError and protobuf's kinds
        raise ExportError("litert-lm-builder cannot pack this model", where=first_line(err)) from err
    finally:
        litertlm_builder.populate_system_metadata = random
    model.unlink()
    return target


def _metadata(request: ExportRequest, config: Any) -> Any:
    from litert_lm_builder.runtime.proto import llm_metadata_pb2
    from transformers import AutoTokenizer

    rules = request.generation
    assert rules is not None, "the pipeline gives rules to tasks that generate"
    tokenizer = AutoTokenizer.from_pretrained(request.tokenizer)
    metadata = llm_metadata_pb2.LlmMetadata()
    metadata.max_num_tokens = request.max_length
    for end in rules.ends:
        metadata.stop_tokens.add().token_ids.ids.append(end)
    _tell_sampling(metadata.sampler_params, rules.sampling)
    if _is_prepended(tokenizer, rules.start):
        metadata.start_token.token_ids.ids.append(rules.start)
    if tokenizer.chat_template:
        metadata.jinja_prompt_template = PARTS_AS_TEXT + tokenizer.chat_template
    getattr(metadata.llm_model_type, MODEL_TYPES.get(config.model_type, "generic_model")).SetInParent()
    return metadata


def _tell_sampling(parameters: Any, sampling: Sampling | None) -> None:
    """LiteRT-LM 0.18.1 refuses its own GREEDY as not implemented: greedily is one token drawn of one."""
    parameters.type = parameters.TOP_P
    if sampling is None:
        parameters.k, parameters.p, parameters.temperature = 1, 1.0, 1.0
        return
    parameters.k, parameters.p = sampling.top_k or EVERY_TOKEN, 1.0 if sampling.top_p is None else sampling.top_p
    parameters.temperature = sampling.temperature


def _is_prepended(tokenizer: Any, start: int) -> bool:
    """Whether a prompt begins with `start`, which LiteRT-LM's tokenizer does not add, and for which its templates have
    no name."""
    if tokenizer("x")["input_ids"][:1] == [start]:
        return True
    if not tokenizer.chat_template:
        return False
    turns = [{"role": "user", "content": "x"}]
    rendered = [tokenizer.apply_chat_template(turns, tokenize=False, **named) for named in ({}, {"bos_token": ""})]
    ids = tokenizer(rendered[0], add_special_tokens=False)["input_ids"]
    return rendered[0] != rendered[1] and bool(ids[:1] == [start])

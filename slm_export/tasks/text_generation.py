"""Causal language models: at every position of a text, how likely is each next token?

What is compared is teacher-forced: the artifact reads the reference's text, and its logits at every position are held
against the reference's. Of a vocabulary's thousands a row keeps the logits of the reference's best tokens and of the
one that comes next; of all others the largest, and the logarithm of the sum of the rest's exponentials. So a row still
is a whole distribution, and its KL divergence to the reference's is never more than that over the whole vocabulary.

The artifact reads all but the last tokens of a text at once, and the last ones one by one, as it does when it writes:
so the cache is compared too. What a model writes greedily is never compared: an int4 model that lost half of its
perplexity still wrote the first tokens alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from slm_export.errors import InputError
from slm_export.generation import Ids, Rules, Sampling
from slm_export.metrics import flips, kl_divergence, wilson_interval
from slm_export.outputs import Array, Continued, Matrices, Step, Tokens, all_rows
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured, best, lead, surest_rows

if TYPE_CHECKING:
    from slm_export.calibration import Sample

AUTO_CLASS = "AutoModelForCausalLM"
SAMPLES = "text or chat"
MOST_SAMPLES = 32
LONGEST = 512  # tokens of a calibration or evaluation text; a probe is as long as the artifact's context
TRUNCATION = "longest_first"
TOLERATED_HARM = 1.25e-4
TAUGHT_BY = "distribution"
LOSS = ("kl_mean",)
INPUTS = encoder.INPUTS
OUTPUTS = {"logits": ("batch", "sequence", "vocabulary")}
GOLDEN_COLUMNS = None
COMPARED = 31  # tokens at each position
OTHER = -1  # the answer where the best token is none of them
COMPARED_AT_END = 64  # positions of a probe longer than LONGEST
STEPPED = 8  # tokens at a text's end that are read one by one
AT_ONCE = 256  # positions whose logits are held at once
SHOWN, SHOWN_TOKENS = 2, 32  # samples that are continued, for people to read
SAME_LOGITS = 1e-4  # of the largest, which two ways of computing them may differ


class Session(Protocol):
    """A causal artifact that is open: see runtimes."""

    def start(self) -> Any: ...

    def read(self, state: Any, ids: Sequence[int]) -> tuple[Any, Array]:
        """The state after `ids`, and the logits [ids, vocabulary] behind each."""
        ...

    def last(self, state: Any, ids: Sequence[int]) -> tuple[Any, Array]:
        """The same with the logits [vocabulary] behind the last of `ids` only, as fast as the artifact reads."""
        ...


def tokenize(tokenizer: Any, samples: Sequence[Sample], max_length: int | None) -> list[Tokens]:
    """Raises InputError where a chat is to be written out and the tokenizer has no template."""
    most = None if max_length is None else min(max_length, LONGEST)
    return [_chat(tokenizer, s, most) if s.turns else encoder.tokenize(tokenizer, [s], most)[0] for s in samples]


def _chat(tokenizer: Any, sample: Sample, most: int | None) -> Tokens:
    if not tokenizer.chat_template:
        raise InputError(
            "the data holds chats, and the model has no chat template",
            where=f"line {sample.line}",
            next_step="give plain texts, or save the template with the tokenizer: tokenizer.chat_template = ...",
        )
    turns = [{"role": turn.role, "content": turn.content} for turn in sample.turns]
    try:
        written = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception as err:  # a template raises whatever it likes, most often for roles out of turn
        raise InputError(f"the chat template refuses a chat: {err}", where=f"line {sample.line}") from err
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    return Tokens(input_ids=tuple(ids[:most]), written=written)


def retokenize(tokenizer: Any, sample: Any) -> list[int]:
    ids: list[int] = tokenizer.encode(sample.text, add_special_tokens=sample.special_tokens).ids
    return ids[:LONGEST]


def rules(module: Any, *, max_length: int) -> Rules:
    """What a writer must know: how texts start, every token that ends one, and how the next is best chosen.

    Raises InputError where an end is not said.
    """
    config, model = module.generation_config, module.config
    ends = config.eos_token_id if config.eos_token_id is not None else model.eos_token_id
    if ends is None:
        raise InputError(
            "the model does not say where an answer ends",
            where="generation_config.json: eos_token_id",
            next_step="add it: the id of the token that ends an assistant's turn, or a list of all that do",
        )
    ends = tuple(ends) if isinstance(ends, list) else (ends,)
    start = config.bos_token_id if config.bos_token_id is not None else model.bos_token_id
    sampling = None
    if config.do_sample:
        temperature = 1.0 if config.temperature is None else config.temperature
        sampling = Sampling(temperature=temperature, top_k=config.top_k, top_p=config.top_p)
    first = ends[0] if start is None else start
    return Rules(start=first, ends=ends, max_new_tokens=max_length, sampling=sampling)


def teach(
    module: Any, tokens: Sequence[Tokens], rules: Rules, progress: Callable[[int], None]
) -> tuple[list[Tokens], Matrices]:
    """Each sample with the tokens whose logits are compared at each position, and the matrix of these.

    Raises InputError if the model makes more of its head's outputs than is known here.
    """
    for sample in tokens[:1]:
        *_, (rows, _) = _logits(module, sample, 0)
        _require_same(rows[-1], _last(module, sample)[0], type(module).__name__)
    taught, matrices = [], []
    for number, sample in enumerate(tokens, 1):
        ids, steps, parts = sample.input_ids, [], []
        first = 0 if len(ids) <= LONGEST else len(ids) - COMPARED_AT_END
        for rows, at in _logits(module, sample, first):
            found = list(_steps(rows, ids, at))
            parts.append(_reduced(rows, found))
            steps += found
        continued = _continued(module, sample) if number <= SHOWN else None
        taught.append(replace(sample, steps=tuple(steps), continued=continued))
        matrices.append(np.concatenate(parts))
        progress(number)
    return taught, tuple(matrices)


def _continued(module: Any, sample: Tokens) -> Continued:
    """By transformers' own generate."""
    import torch

    after = max(1, len(sample.input_ids) // 2)
    prompt = torch.tensor([sample.input_ids[:after]])
    with torch.inference_mode():
        made = module.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, num_beams=1, max_new_tokens=SHOWN_TOKENS,
            temperature=None, top_p=None, top_k=None, pad_token_id=0,
        )  # fmt: skip
    return Continued(after=after, ids=tuple(made[0, after:].tolist()))


def _logits(module: Any, sample: Tokens, start: int) -> Iterator[tuple[Array, int]]:
    """The logits [some, vocabulary] behind the tokens from a position on, some at a time, beginning at `start`."""
    import torch

    ids = torch.tensor([sample.input_ids])
    head = module.get_output_embeddings()
    with torch.inference_mode():
        hidden = module.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        for first in range(start, len(hidden), AT_ONCE):
            yield _scaled(module, head(hidden[first : first + AT_ONCE])).float().numpy(), first


def _scaled(module: Any, logits: Any) -> Any:
    """What Gemma, Granite and Cohere do to the head's outputs."""
    config = module.config
    softcap = getattr(config, "final_logit_softcapping", None)
    logits = logits / (getattr(config, "logits_scaling", None) or 1.0) * (getattr(config, "logit_scale", None) or 1.0)
    return (logits / softcap).tanh() * softcap if softcap else logits


def _require_same(computed: Array, own: Array, name: str) -> None:
    error = float(np.abs(computed - own).max())
    if np.isfinite(own).all() and not error <= SAME_LOGITS * max(1.0, float(np.abs(own).max())):
        raise InputError(
            f"{name} does something to its logits that slm-export does not know of",
            where=f"they differ by {error:.3g} from what its head gives",
        )


def _steps(rows: Array, ids: Ids, first: int) -> Iterator[Step]:
    count = min(COMPARED, rows.shape[1] // 2)
    chosen = np.argpartition(-rows, count, axis=1)[:, :count]
    for number, (row, some) in enumerate(zip(rows, chosen, strict=True), first):
        compared = [int(i) for i in some[np.argsort(-row[some], kind="stable")]]
        token = ids[number + 1] if number + 1 < len(ids) else compared[0]
        if token not in compared:
            compared[-1] = token
        yield Step(token=token, compared=tuple(compared))


def run(module: Any, tokens: Sequence[Tokens], *, progress: Callable[[int], None] | None = None) -> Matrices:
    """The matrices of samples that were taught; of others the logits behind the last token [1, vocabulary]."""
    made = []
    for number, sample in enumerate(tokens, 1):
        made.append(_taught(module, sample) if sample.steps else _last(module, sample))
        if progress:
            progress(number)
    return tuple(made)


def _taught(module: Any, sample: Tokens) -> Array:
    steps, first = sample.steps or (), _first(sample)
    found = [_reduced(rows, steps[at - first :][: len(rows)]) for rows, at in _logits(module, sample, first)]
    return np.concatenate(found)


def _first(sample: Tokens) -> int:
    """The position of the first step: the last ones are compared where not all are."""
    return len(sample.input_ids) - len(sample.steps or ())


def _last(module: Any, sample: Tokens) -> Array:
    import torch

    with torch.inference_mode():
        logits: Array = module(input_ids=torch.tensor([sample.input_ids]), logits_to_keep=1, use_cache=False).logits
    return np.asarray(logits[0].float())


def _reduced(rows: Array, steps: Sequence[Step]) -> Array:
    """[positions, compared tokens and two]: see the top."""
    compared = np.array([s.compared for s in steps])
    kept = np.take_along_axis(rows, compared, axis=1)
    others = rows.astype(np.float64)
    np.put_along_axis(others, compared, -np.inf, axis=1)
    most = others.argmax(axis=1)[:, None]
    largest = np.take_along_axis(others, most, axis=1)
    np.put_along_axis(others, most, -np.inf, axis=1)
    rest = np.log(np.exp(others - largest).sum(axis=1, keepdims=True)) + largest
    return np.concatenate([kept, largest, rest], axis=1).astype(np.float32)


def execute(session: Session, tokens: Tokens, rules: Rules) -> tuple[Array, Ids]:
    """The matrix of one sample, and how the artifact continues it, where the reference did."""
    if tokens.positions is not None:
        return _at_positions(session, tokens), ()
    ids, steps, first = tokens.input_ids, tokens.steps or (), _first(tokens)
    state, made = session.start(), []
    for at in range(0, first, LONGEST):
        state, _ = session.last(state, ids[at : min(at + LONGEST, first)])
    read = first
    for count in _portions(len(ids) - first):
        state, rows = session.read(state, ids[read : read + count])
        made.append(_reduced(rows, steps[read - first :][:count]))
        read += count
    return np.concatenate(made), () if tokens.continued is None else _write(
        session, ids[: tokens.continued.after], rules
    )


def _at_positions(session: Session, tokens: Tokens) -> Array:
    """What lies before a position is read at once, its own token alone: so the cache is compared too."""
    state, read, made = session.start(), 0, []
    for position, step in zip(tokens.positions or (), tokens.steps or (), strict=True):
        for at in range(read, position, LONGEST):
            state, _ = session.last(state, tokens.input_ids[at : min(at + LONGEST, position)])
        state, logits = session.last(state, tokens.input_ids[position : position + 1])
        made.append(_reduced(logits[None], [step]))
        read = position + 1
    return np.concatenate(made)


def _write(session: Session, prompt: Ids, rules: Rules) -> Ids:
    state, logits = session.last(session.start(), prompt)
    written: list[int] = []
    while len(written) < SHOWN_TOKENS and not (written and written[-1] in rules.ends):
        written.append(int(np.argmax(logits)))
        state, logits = session.last(state, written[-1:])
    return tuple(written)


def _portions(length: int) -> Iterator[int]:
    """All but the last tokens at once, but no more than LONGEST, and then one by one."""
    left = max(0, length - STEPPED)
    while left:
        yield min(left, LONGEST)
        left -= min(left, LONGEST)
    yield from [1] * min(length, STEPPED)


def harm(expected: Array, got: Array) -> float:
    """Mean KL divergence, nats."""
    return float(kl_divergence(expected, got).mean())


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> list[int]:
    """The best next token at each position; OTHER where it is none of the compared."""
    columns = best(matrix[:, :-1])
    return [
        s.compared[c] if 0 <= c < len(s.compared) else OTHER for s, c in zip(tokens.steps or (), columns, strict=True)
    ]


def surest(tokens: Tokens, reference: Array, artifacts: Sequence[Array]) -> tuple[Tokens, list[int]]:
    rows = surest_rows(reference[:, :-1], [matrix[:, :-1] for matrix in artifacts])
    first, steps = _first(tokens), tokens.steps or ()
    return replace(tokens, positions=tuple(first + row for row in rows), steps=tuple(steps[row] for row in rows)), rows


def margin(matrix: Array, tokens: Tokens) -> float:
    return lead(matrix[:, :-1])


def settings(source: Any) -> dict[str, Any]:
    """Nothing beside the artifacts' `generation`."""
    return {}


def measure(judged: Judged) -> Measured:
    """Over every position: best tokens that changed, KL divergence, the texts' perplexity before and after."""
    before, after = all_rows(judged.before), all_rows(judged.after)
    changed = flips(best(before[:, :-1]), best(after[:, :-1]))
    divergence = kl_divergence(_distribution(before), _distribution(after))
    perplexities = [_perplexity(matrices, judged.tokens) for matrices in (judged.before, judged.after)]
    answers = {
        "flips": float(changed),
        "flip_rate": changed / len(before),
        "kl_mean": float(divergence.mean()),
        "kl_p99": float(np.quantile(divergence, 0.99)),
        "perplexity_reference": perplexities[0],
        "perplexity": perplexities[1],
        "perplexity_increase": perplexities[1] / perplexities[0] - 1,
    }
    return Measured(answers=answers, intervals={"flip_rate": wilson_interval(changed, len(before))}, classes={})


def _distribution(rows: Array) -> npt.NDArray[np.float64]:
    """With all other tokens as one: which of them is the largest differs from model to model."""
    others = np.logaddexp(rows[:, -2].astype(np.float64), rows[:, -1])
    return np.concatenate([rows[:, :-2], others[:, None]], axis=1)


def _perplexity(matrices: Matrices, tokens: Sequence[Tokens]) -> float:
    """exp of the mean negative log-likelihood of every token but each text's first; 1 where no text has two."""
    losses = [
        np.logaddexp.reduce(row.astype(np.float64)) - row[step.compared.index(step.token)]
        for matrix, sample in zip(matrices, tokens, strict=True)
        for row, step in zip(matrix[:-1], (sample.steps or ())[:-1], strict=True)
    ]
    return float(np.exp(np.mean(losses))) if losses else 1.0

"""Greedy generation: the rules a checkpoint asks for, and the loop, in numpy, whatever runs the model.

A decoder is an object with

    encode(input_ids) -> state          one text's token ids to a state; a state is never changed
    step(state, token) -> (state, logits float32 [vocabulary])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from slm_export.records import record

Array = npt.NDArray[np.float32]
Ids = tuple[int, ...]


@record
class Sampling:
    """What the checkpoint's maker recommends for drawing tokens; None: no such limit."""

    temperature: float
    top_k: int | None
    top_p: float | None


@record
class Rules:
    """What a decoder starts with, ends at, and must or must not say on the way.

    A forced token leaves no choice; among the others the one with the largest logit is next, the lowest id where
    several are equal.
    """

    start: int
    ends: Ids
    max_new_tokens: int
    forced_first: int | None = None
    forced_last: int | None = None  # as token number max_new_tokens
    banned: Ids = ()
    min_new_tokens: int = 0  # no end before so many
    sampling: Sampling | None = None  # of a causal model; None: greedily
    no_repeat_ngram: int = 0  # no sequence of so many tokens twice, the start token counted; 0: any

    def forced(self, said: Sequence[int]) -> int | None:
        """The next token after those said, if it is given."""
        if len(said) + 1 == self.max_new_tokens and self.forced_last is not None:
            return self.forced_last
        return self.forced_first if not said else None

    def refused(self, said: Sequence[int]) -> list[int]:
        """The tokens that must not be next."""
        ends = self.ends if len(said) < self.min_new_tokens else ()
        return sorted({*self.banned, *ends, *self._repeats([self.start, *said])})

    def _repeats(self, all_ids: Sequence[int]) -> Iterator[int]:
        size = self.no_repeat_ngram
        if size == 0 or len(all_ids) < size:
            return
        last = list(all_ids[len(all_ids) - size + 1 :])
        for start in range(len(all_ids) - size + 1):
            if list(all_ids[start : start + size - 1]) == last:
                yield all_ids[start + size - 1]

    def choose(self, logits: Array, said: Sequence[int]) -> int:
        """The next token; -1 where the logits hold NaN."""
        forced = self.forced(said)
        if forced is not None:
            return forced
        if np.isnan(logits).any():
            return -1
        return int(self.allowed(logits, said).argmax())

    def allowed(self, logits: Array, said: Sequence[int]) -> Array:
        """The logits with refused tokens at minus infinity."""
        left = logits.copy()
        left[self.refused(said)] = -np.inf
        return left

    def ended(self, said: Sequence[int]) -> bool:
        return len(said) >= self.max_new_tokens or (bool(said) and (said[-1] in self.ends or said[-1] < 0))


class Decoder(Protocol):
    def encode(self, input_ids: Sequence[int]) -> Any: ...

    def step(self, state: Any, token: int) -> tuple[Any, Array]: ...


def generate(decoder: Decoder, state: Any, rules: Rules, said: Sequence[int] = ()) -> Ids:
    """Go on after `said`, of which all but the last token are in `state`, until the rules say stop; -1 ends what became
    NaN."""
    done = list(said)
    while not rules.ended(done):
        state, logits = decoder.step(state, done[-1] if done else rules.start)
        done.append(rules.choose(logits, done))
    return tuple(done)


def follow(decoder: Decoder, input_ids: Sequence[int], rules: Rules, told: Ids) -> tuple[list[Array], Ids]:
    """The logits at each of the tokens `told`, each step being told the token before; and what the decoder says when it
    is told nothing.

    Both are one walk as long as the decoder's own choice is the token told; it goes its own way from the first where
    it is not.
    """
    state, rows, own = decoder.encode(input_ids), [], told
    for number, token in enumerate(told):
        state, logits = decoder.step(state, told[number - 1] if number else rules.start)
        rows.append(logits)
        chosen = rules.choose(logits, told[:number])
        if own is told and chosen != token:
            own = generate(decoder, state, rules, (*told[:number], chosen))
    return rows, own


def text_decoder(tokenizer_json: str) -> Callable[[Sequence[int]], str]:
    """Token ids to text, special tokens left out, by the bundle's own tokenizer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_json)
    return lambda ids: str(tokenizer.decode([i for i in ids if i >= 0], skip_special_tokens=True))

"""Part of stage "prepare": each format's plan and integers, as its scheme says or a search finds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from slm_export import tasks
from slm_export.calibration.labels import Targets
from slm_export.distillation import BY_SAMPLES, BY_TOKENS, Batching, Distilled, parts_of, some
from slm_export.generation import Rules
from slm_export.names import AUTO
from slm_export.outputs import Inputs, Matrices, Tokens
from slm_export.parity.budget import Loss, MaxDrop, allowed, loss
from slm_export.quantization import compressed as compression
from slm_export.quantization import schemes
from slm_export.quantization.checkpoints import Checkpoints
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.mixing import most_sensitive, tensors_of
from slm_export.quantization.ranges import TOLERANCE, Ranges, settle
from slm_export.quantization.ranges import find as find_ranges
from slm_export.quantization.rounding import Rounded, round_weights
from slm_export.quantization.search import Candidate, Trial, candidates, estimated_bytes, smallest_within
from slm_export.quantization.sensitivity import activation_harm, weight_gain, weight_harm
from slm_export.quantization.simulated import simulated
from slm_export.quantization.trials import TrialStore, key_of
from slm_export.quantization.tuning import LESSONS, tune
from slm_export.quantplan import QuantPlan
from slm_export.records import record
from slm_export.sources import Reference
from slm_export.tasks.encoder import BATCH
from slm_export.tasks.measured import Judged

LONG = 512  # tokens that show which layers the text reaches
SMOOTHED = 8192  # tokens that say how to smooth activations
RANKED = 6000  # tokens that say where a language model's layers need 8 bits; 4,000 served SmolLM2 as well
RANKED_LENGTH = 256  # of one text: what autograd keeps of longer ones is most of the memory

Progress = Callable[[str, int, int], None]
Traced = Callable[[], Any]


@record
class FormatNeeds:
    """The scheme a format is to be exported in, and what its exporter can write."""

    scheme: str  # "auto" too
    schemes: tuple[str, ...]  # what auto may choose from
    activations: tuple[str, ...]
    int8_group: int | None = None  # int8 weights that share a scale along the input; None: a whole output channel


@record
class Search:
    """What auto has to keep to, and where its trials are kept."""

    max_drop: MaxDrop | None
    max_megabytes: float | None
    store: str


@record
class Wishes:
    formats: dict[str, FormatNeeds]
    rounding: str  # of 4-bit weights
    int8_share: float  # of 4-bit weights that get 8 bits after all
    int8_by: str  # of names.RANKINGS: how it is told which
    effort: str  # of names.EFFORTS
    checkpoints: str  # where finished blocks of a rounding are kept
    key: str  # of the model, the data and everything else that is the same all through a run
    search: Search | None


@record
class Samples:
    """Token ids of the calibration set, those that distillation teaches, and those that trials of a search are judged
    by: with what the reference answers, what the data says of them, or the answers it holds."""

    calibration: tuple[Tokens, ...]
    taught: tuple[Tokens, ...] = ()
    tried: tuple[Tokens, ...] = ()
    tried_before: Matrices = ()
    tried_targets: Targets | None = None
    tried_wanted: tuple[str, ...] | None = None
    rules: Rules | None = None  # by which answers are generated
    decode: Callable[[Sequence[int]], str] | None = None  # token ids to text


@record
class Made:
    """By format; trials where it was searched."""

    compressed: dict[str, Compressed]
    trials: dict[str, tuple[Trial, ...]]
    tuning: dict[str, Distilled]  # of those with 4-bit weights, where that was asked for


class Compressing:
    """`module` is what is quantized: the reference's own, or what pruning left of it. A search's losses are counted
    against the reference all the same. `traced` traces the task's graph of it, for static schemes.

    Formats of one scheme differ in the granularity of activations and, where searched, in which layers get 8 bits;
    the integers of a layer at the same bits are the same.
    """

    def __init__(
        self,
        reference: Reference,
        module: Any,
        task: ModuleType,
        wishes: Wishes,
        samples: Samples,
        inputs: Inputs,
        traced: Traced,
        progress: Progress,
    ) -> None:
        self.reference, self.module, self.task = reference, module, task
        self.wishes, self.samples = wishes, samples
        self.traced, self.progress = traced, progress
        self.layers = self._layers(inputs)
        self._rounded: dict[tuple[int, int | None, bool], Rounded] = {}
        self._ranked: dict[tuple[int, int | None], Rounded] = {}
        self._tuned: dict[str, tuple[Compressed, Distilled]] = {}
        self._ranges: dict[int, Ranges] = {}

    def made(self) -> Made:
        """Raises ExportError if a layer cannot be quantized, or nothing is within a search's budget."""
        made, trials, tuning = {}, {}, {}
        for format, needs in self.wishes.formats.items():
            wanted = Candidate(scheme=needs.scheme, int8_share=self.wishes.int8_share)
            if needs.scheme == AUTO:
                trials[format] = self.search(needs)
                found = trials[format][-1]
                wanted = Candidate(scheme=found.scheme, int8_share=found.int8_share)
            made[format] = self.make(needs, wanted)
            if self.wishes.effort == "high" and schemes.SCHEMES[wanted.scheme].bits == 4:
                made[format], tuning[format] = self.tuned(made[format])
        return Made(compressed=made, trials=trials, tuning=tuning)

    def _layers(self, inputs: Inputs) -> dict[str, schemes.Layer]:
        long = inputs.probes[-1].input_ids[:LONG]
        rows = self.module.get_input_embeddings().weight.shape[0]
        pair = [Tokens(input_ids=tuple((i + shift) % rows for i in long)) for shift in (0, 1)]
        module = self.module
        return compression.find_layers(module, lambda n: self.task.run(module, [pair[n]]))

    def make(self, needs: FormatNeeds, wanted: Candidate) -> Compressed:
        rounded = self.rounded(needs, wanted.scheme)
        plan = self._plan(needs, wanted)
        made = Compressed(module=self.module, plan=plan, tensors=tensors_of(rounded, plan), floats=rounded.floats)
        bits = schemes.SCHEMES[wanted.scheme].static_bits
        if bits is not None:
            tolerated = TOLERANCE * self.task.TOLERATED_HARM
            return replace(made, plan=settle(self.traced(), plan, self.ranges(bits), tolerated))
        if wanted.scheme not in schemes.NEEDS_CALIBRATION or len(needs.activations) == 1:
            return made
        harm = activation_harm(
            made,
            self.task,
            self.samples.calibration,
            granularity=needs.activations[0],
            progress=partial(self.progress, "measuring what activations cost each layer"),
        )
        plan = schemes.make(
            wanted.scheme,
            self.layers,
            activations=needs.activations,
            harm=harm,
            tolerated=self.task.TOLERATED_HARM,
            int8_group=needs.int8_group,
        )
        return replace(made, plan=plan)

    def ranges(self, bits: int) -> Ranges:
        """Of activations; the same for every format."""
        if bits not in self._ranges:
            self._ranges[bits] = find_ranges(
                self.traced(),
                self.task,
                self.samples.calibration,
                bits=bits,
                pad_id=self.reference.pad_id,
                progress=partial(self.progress, "measuring what a static range costs each tensor"),
            )
        return self._ranges[bits]

    def _plan(self, needs: FormatNeeds, wanted: Candidate) -> QuantPlan:
        wider = self.wider(needs, wanted)
        return schemes.make(
            wanted.scheme, self.layers, activations=needs.activations, wider=wider, int8_group=needs.int8_group
        )

    def rounded(self, needs: FormatNeeds, scheme: str) -> Rounded:
        """The integers of a scheme; those of its bits and groups, once."""
        causal = self.reference.task in tasks.CAUSAL  # encoders lose a cosine of .0004 in int8: nothing to mend
        smoothed = causal and schemes.smooths(scheme) and bool(self.samples.calibration)
        key = schemes.SCHEMES[scheme].bits, needs.int8_group, smoothed
        if key not in self._rounded:
            plan = schemes.make(scheme, self.layers, int8_group=needs.int8_group)
            if any(p.bits == 4 for p in plan.layers.values()):
                self._rounded[key] = self._round(plan, needs.int8_group)
            elif smoothed:
                self._rounded[key] = self._round_smoothed(plan)
            else:
                self._rounded[key] = round_weights(self.module, plan, "rtn")
        return self._rounded[key]

    def _round_smoothed(self, plan: QuantPlan) -> Rounded:
        module = copy.deepcopy(self.module)
        runs = self._runs(module, some(self.samples.calibration, tokens=SMOOTHED))
        return round_weights(module, plan, "rtn", runs, partial(self.progress, "smoothing what layers are given"))

    def _runs(self, module: Any, samples: Sequence[Tokens]) -> list[Callable[[], Any]]:
        most = 1 if self.reference.task in tasks.GENERATING else BATCH  # which run their samples one by one anyway
        return [partial(self.task.run, module, part) for part in parts_of(samples, most=most)]

    def _round(self, plan: QuantPlan, int8_group: int | None) -> Rounded:
        module = copy.deepcopy(self.module)
        runs = self._runs(module, self.samples.calibration)
        steps = Checkpoints(Path(self.wishes.checkpoints), key_of(self.wishes.key, self.wishes.rounding, plan))
        progress = partial(self.progress, "rounding weights to 4 bits")
        follow = self.reference.task not in tasks.CAUSAL  # whose KL was .144 that way, and .126 the other
        return round_weights(module, plan, self.wishes.rounding, runs, progress, steps, int8_group, follow)

    @property
    def _batching(self) -> Batching:
        return BY_TOKENS if self.reference.task in tasks.CAUSAL else BY_SAMPLES

    def tuned(self, compressed: Compressed) -> tuple[Compressed, Distilled]:
        """Formats with the same mixture of bits learn once."""
        key = repr({name: (p.bits, p.group) for name, p in compressed.plan.layers.items()})
        if key not in self._tuned:
            taught = self.samples.taught
            self._tuned[key] = tune(
                compressed,
                self.reference.module,
                self.task,
                some(taught, tokens=LESSONS) if self._batching.by_tokens else taught,
                batching=self._batching,
                progress=partial(self.progress, "tuning scales and norms by distillation"),
            )
        made, went = self._tuned[key]
        return replace(compressed, tensors=made.tensors, floats=made.floats), went

    def wider(self, needs: FormatNeeds, wanted: Candidate) -> list[str]:
        """The layers that get 8 bits in place of 4."""
        if not wanted.int8_share:
            return []
        key = schemes.SCHEMES[wanted.scheme].bits, needs.int8_group
        if key not in self._ranked:
            rounded = self.rounded(needs, wanted.scheme)
            plan = schemes.make(wanted.scheme, self.layers, int8_group=needs.int8_group)
            self._ranked[key] = replace(rounded, errors=self._errors(rounded, plan))
        return most_sensitive(self._ranked[key], wanted.int8_share)

    def _errors(self, rounded: Rounded, plan: QuantPlan) -> dict[str, float]:
        """Of each 4-bit layer, as the ranking that was asked for measures them."""
        if self.wishes.int8_by == "hessian":
            return rounded.errors
        four = Compressed(module=self.module, plan=plan, tensors=rounded.tensors, floats=rounded.floats)
        progress = partial(self.progress, "measuring what 8 bits buy in each layer")
        texts, batching = self.samples.calibration, self._batching
        if self.wishes.int8_by == "harm":
            return weight_harm(four, rounded.wider, self.task, texts, progress=progress)
        if batching.by_tokens:
            texts = tuple(some([Tokens(input_ids=t.input_ids[:RANKED_LENGTH]) for t in texts], tokens=RANKED))
        return weight_gain(
            four, rounded.wider, self.reference.module, self.task, texts, batching=batching, progress=progress
        )

    def search(self, needs: FormatNeeds) -> tuple[Trial, ...]:
        search = self.wishes.search
        assert search is not None, "planning gives auto a budget"
        sizes = {c: self._megabytes(needs, c) for c in candidates(needs.schemes)}
        ordered = sorted(sizes, key=lambda c: (sizes[c], -schemes.SCHEMES[c.scheme].bits))
        if search.max_drop is None:
            ordered.reverse()  # the largest that fits
        store = TrialStore(Path(search.store))

        def tried(candidate: Candidate) -> Trial:
            wishes = (self.wishes.key, search.max_drop, search.max_megabytes, self.wishes.rounding)
            key = key_of(*wishes, needs, self._plan(needs, candidate))
            trial = store.get(key)
            if trial is None:
                trial = self._try(needs, candidate, sizes[candidate], search)
                store.put(key, trial)
            return trial

        return tuple(smallest_within(ordered, tried))

    def _megabytes(self, needs: FormatNeeds, candidate: Candidate) -> float:
        plan = self._plan(needs, candidate)
        return estimated_bytes(self.module, plan) / 1e6

    def _try(self, needs: FormatNeeds, candidate: Candidate, megabytes: float, search: Search) -> Trial:
        fits = search.max_megabytes is None or megabytes <= search.max_megabytes
        metric, drop = self.task.LOSS[0], None
        if fits and search.max_drop is not None:
            said = f"{candidate.scheme}, {candidate.int8_share:.0%} of it int8"
            measured = self._measure(self.make(needs, candidate), partial(self.progress, f"trying {said}"))
            metric, drop = measured.metric, measured.drop
            fits = drop <= allowed(search.max_drop, measured)
        return Trial(
            scheme=candidate.scheme,
            int8_share=candidate.int8_share,
            int8_layers=tuple(self.wider(needs, candidate)),
            megabytes=megabytes,
            metric=metric,
            drop=drop,
            within=fits,
        )

    def _measure(self, compressed: Compressed, progress: Callable[[int, int], None]) -> Loss:
        """What the compressed model, eager, loses on the samples held out for trials."""
        assert self.wishes.search is not None and self.wishes.search.max_drop is not None
        known, tokens, total = self.samples, self.samples.tried, len(self.samples.tried)
        after, said = known.tried_before, None
        if self.module is not self.reference.module or any(p.bits < 32 for p in compressed.plan.layers.values()):
            with simulated(compressed, self.traced) as module:
                after = self.task.run(module, tokens, progress=lambda done: progress(done, total))
                if known.tried_wanted is not None:
                    said = self.task.say(module, tokens, known.rules)
        judged = Judged(
            before=known.tried_before,
            after=after,
            tokens=tokens,
            labels=self.reference.labels,
            targets=known.tried_targets,
            said=said,
            wanted=known.tried_wanted,
            decode=known.decode,
        )
        return loss(self.reference.task, self.task.measure(judged).answers, self.wishes.search.max_drop)

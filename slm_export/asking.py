"""run: ask a bundle one question, in the runtime of one of its artifacts.

Tokenizing as each task wants it takes transformers' tokenizer classes, and so this takes the export extra, where verify
does not.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slm_export import runtimes, tasks
from slm_export.artifact import Artifact
from slm_export.bundle.manifest import Manifest, read_manifest, task_module
from slm_export.bundle.shared import tokenizer_file
from slm_export.calibration import Sample
from slm_export.errors import DependencyError, InputError
from slm_export.outputs import Array
from slm_export.records import record
from slm_export.requirements import RUN_NEEDS, tested
from slm_export.runtimes.worker import run_batch
from slm_export.tasks import encoder


@record
class Answer:
    """`answer` is as the task gives it, of a generating one the text. Speeds are tokens per second, of those alone."""

    artifact: str
    runtime: str
    answer: Any
    tokens_read: int
    tokens_written: int = 0
    read_per_second: float | None = None
    written_per_second: float | None = None


Say = Callable[[str], None]


def ask(
    bundle: Path,
    text: str,
    *,
    pair: str | None = None,
    format: str | None = None,
    most: int = 256,
    raw: bool = False,
    say: Say = lambda piece: None,
) -> Answer:
    """Answer `text` (a question's context or a pair's second text is `pair`); `say` hears a written text as it comes.

    A model that writes is greedy, writes at most `most` tokens, and is given the text as a user's turn of its chat
    template, if it has one and not `raw`. Texts longer than the artifact takes are cut, but a causal model's are
    refused. Raises InputError for that, if the bundle has no such artifact, or `pair` is missing or too much;
    DependencyError if a library is missing.
    """
    manifest = read_manifest(bundle)
    artifact = _chosen(manifest, format)
    _require(artifact)
    tokenizer, task = _tokenizer(bundle, manifest), task_module(manifest)
    causal = manifest.task in tasks.CAUSAL
    _require_texts(manifest, pair)
    turn = causal and not raw and bool(manifest.tokenizer.chat_template)
    if turn:
        turns = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    session = runtimes.get(artifact.format).open((bundle / artifact.path).resolve(), artifact)
    if causal:
        ids = tokenizer(text, add_special_tokens=not turn, truncation=False)["input_ids"]
        return _written(artifact, _write(session, artifact, ids, most), len(ids), tokenizer, say)
    words = tuple(text.split()) if manifest.task == "token-classification" else ()
    sample = Sample(line=0, text=text, pair=pair, words=words)
    (tokens,) = task.tokenize(tokenizer, [sample], manifest.max_length)
    if manifest.task in tasks.ENCODER_DECODERS:
        steps = _answer_steps(session, artifact, tokens.input_ids, most)
        return _written(artifact, steps, len(tokens.input_ids), tokenizer, say)
    name = "/".join(filter(None, (manifest.task, manifest.head)))
    (matrix,) = run_batch(session, artifact, name, [tokens])
    found = _readable(task.answer(matrix, tokens, manifest.labels), matrix, manifest, tokenizer)
    return Answer(artifact=artifact.path, runtime=_runtime(artifact), answer=found, tokens_read=len(tokens.input_ids))


def _chosen(manifest: Manifest, format: str | None) -> Artifact:
    held = [entry.artifact for entry in manifest.artifacts]
    found = next((a for a in held if format in (None, a.format)), None)
    if found is None:
        raise InputError(
            f"the bundle has no {format} artifact", why=f"it has {', '.join(a.format for a in held)}",
            next_step="leave --format out, or name one of these",
        )  # fmt: skip
    return found


def _readable(found: Any, matrix: Array, manifest: Manifest, tokenizer: Any) -> Any:
    """Tokens by name, and where the output itself is the answer, that."""
    if manifest.task == "fill-mask":
        return tokenizer.convert_ids_to_tokens(found)
    if found is not None or manifest.task == "question-answering":
        return found
    rows = [[round(float(v), 6) for v in row] for row in matrix]
    return rows if manifest.head == "hidden-states" else rows[0]


def _require_texts(manifest: Manifest, pair: str | None) -> None:
    inputs = {spec.name for entry in manifest.artifacts for spec in entry.artifact.inputs}
    if pair is None and (manifest.task == "question-answering" or encoder.SEGMENTS in inputs):
        raise InputError("the model reads two texts", next_step="give the second, or a question's context, as --pair")
    if pair is not None and manifest.task in (*tasks.GENERATING, "token-classification"):
        raise InputError(f"a {manifest.task} model reads one text", next_step="leave --pair out")


def _require(artifact: Artifact) -> None:
    needs = {"transformers": "transformers", **RUN_NEEDS[artifact.format]}
    missing = [dist for dist, module in needs.items() if find_spec(module) is None]
    if missing:
        raise DependencyError(
            f"running this bundle needs {', '.join(missing)}", next_step=f"pip install {' '.join(map(tested, missing))}"
        )


def _tokenizer(bundle: Path, manifest: Manifest) -> Any:
    """From a folder of its own: its files may be shared with other models'."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(manifest.tokenizer.files):
            shutil.copyfile(tokenizer_file(bundle, manifest, number), Path(folder) / Path(path).name)
        return transformers.AutoTokenizer.from_pretrained(folder)


def _runtime(artifact: Artifact) -> str:
    return f"{artifact.runtime.package} {runtimes.get(artifact.format).version()}"


def _write(session: Any, artifact: Artifact, ids: Sequence[int], most: int) -> Iterator[int]:
    """The tokens behind `ids`, one after the other."""
    rules = artifact.generation
    assert rules is not None, "a causal artifact has rules"
    room = artifact.max_length - len(ids)
    if room <= 0 or not ids:
        raise InputError(
            f"the prompt has {len(ids)} tokens, the model reads and writes {artifact.max_length} together",
            next_step="shorten it, or export with a larger --max-length",
        )
    state, logits = session.last(session.start(), ids)
    for _ in range(min(most, room)):
        token = int(logits.argmax())
        yield token
        if token in rules.ends:
            return
        state, logits = session.last(state, [token])


def _answer_steps(decoder: Any, artifact: Artifact, ids: Sequence[int], most: int) -> Iterator[int]:
    rules = artifact.generation
    assert rules is not None, "an encoder-decoder has rules"
    state, said = decoder.encode(ids), list[int]()
    while not rules.ended(said) and len(said) < most:
        state, logits = decoder.step(state, said[-1] if said else rules.start)
        said.append(rules.choose(logits, said))
        yield said[-1]


def _written(artifact: Artifact, steps: Iterator[int], read: int, tokenizer: Any, say: Say) -> Answer:
    """Say the text as far as it is certain: a character may take several tokens."""
    started, first, ids, text = time.perf_counter(), None, list[int](), ""
    for token in steps:
        first = first or time.perf_counter()
        ids.append(token)
        whole = tokenizer.decode(ids, skip_special_tokens=True)
        if not whole.endswith("\N{REPLACEMENT CHARACTER}"):
            say(whole[len(text) :])
            text = whole
    ended = time.perf_counter()
    first = first or ended
    return Answer(
        artifact=artifact.path,
        runtime=_runtime(artifact),
        answer=text,
        tokens_read=read,
        tokens_written=len(ids),
        read_per_second=read / max(first - started, 1e-9),
        written_per_second=(len(ids) - 1) / max(ended - first, 1e-9) if len(ids) > 1 else None,
    )

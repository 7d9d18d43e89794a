"""One causal model's file in its runtime, as a child of lm.py: python lm_child.py KIND FILE

Each line of its standard input asks; each line of its output answers, in JSON. {"read": ids, "to": npy} writes the
logits behind every token, [tokens, vocabulary]; {"time": ids, "written": n} gives the CPU seconds that reading and
writing took. One thread. Imports nothing of the others' runtimes, so that each can have an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np


class Kind(Protocol):
    def read(self, ids: list[int]) -> Any:
        """The logits behind every token of a text that begins."""

    def start(self, ids: list[int]) -> Any:
        """The logits behind the last token of a text that begins."""

    def next(self, token: int) -> Any:
        """Those behind one more token."""


class SlmExport:
    """FILE is BUNDLE:FORMAT."""

    def __init__(self, file: str) -> None:
        from slm_export import runtimes
        from slm_export.bundle.manifest import read_manifest

        bundle, _, format = file.rpartition(":")
        artifact = next(e.artifact for e in read_manifest(Path(bundle)).artifacts if e.artifact.format == format)
        self.session = runtimes.get(format).open((Path(bundle) / artifact.path).resolve(), artifact)

    def read(self, ids: list[int]) -> Any:
        return self.session.read(self.session.start(), ids)[1]

    def start(self, ids: list[int]) -> Any:
        self.state, logits = self.session.last(self.session.start(), ids)
        return logits

    def next(self, token: int) -> Any:
        self.state, logits = self.session.last(self.state, [token])
        return logits


class Genai:
    """FILE is a folder with model.onnx and genai_config.json; speed is that of onnxruntime-genai's own loop."""

    def __init__(self, file: str) -> None:
        import onnxruntime
        import onnxruntime_genai as genai

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(f"{file}/model.onnx", options, providers=["CPUExecutionProvider"])
        decoder = json.loads((Path(file) / "genai_config.json").read_text())["model"]["decoder"]
        shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
        caches = [i.name for i in self.session.get_inputs() if i.name.startswith("past_key_values.")]
        self.empty = {name: np.zeros(shape, np.float32) for name in caches}
        config = genai.Config(file)
        config.overlay('{"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}')
        self.genai, self.model = genai, genai.Model(config)

    def read(self, ids: list[int]) -> Any:
        feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64), **self.empty}
        return self.session.run(["logits"], feed)[0][0]

    def start(self, ids: list[int]) -> Any:
        params = self.genai.GeneratorParams(self.model)
        params.set_search_options(max_length=len(ids) + 256, do_sample=False)
        self.generator = self.genai.Generator(self.model, params)
        return self._ahead(ids)

    def next(self, token: int) -> Any:
        return self._ahead([token])

    def _ahead(self, ids: list[int]) -> Any:
        self.generator.append_tokens(ids)
        return self.generator.get_logits()[0, -1]


class LlamaCpp:
    def __init__(self, file: str) -> None:
        from llama_cpp import Llama

        common = {"n_ctx": 1024, "n_threads": 1, "n_threads_batch": 1, "n_batch": 512, "verbose": False}
        self.whole, self.model = Llama(file, logits_all=True, **common), Llama(file, **common)

    def read(self, ids: list[int]) -> Any:
        self.whole.reset()
        self.whole.eval(ids)
        return np.array(self.whole.scores[: len(ids)])

    def start(self, ids: list[int]) -> Any:
        self.model.reset()
        self.model.eval(ids)
        return self._last()

    def next(self, token: int) -> Any:
        self.model.eval([token])
        return self._last()

    def _last(self) -> Any:
        import ctypes

        from llama_cpp import llama_get_logits

        pointer = llama_get_logits(self.model._ctx.ctx)
        return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self.model.n_vocab(),))


class ExecuTorch:
    """forward(tokens [1, n], positions) of optimum-executorch; positions are one for each token, or the first."""

    def __init__(self, file: str) -> None:
        import executorch.extension.llm.custom_ops.custom_ops
        import executorch.kernels.quantized
        import torch
        from executorch.extension.pybindings import _C, portable_lib

        print(executorch.kernels.quantized)  # whose import registers operators
        _C._unsafe_reset_threadpool(1)
        torch.set_num_threads(1)  # attention's
        self.module, self.at, self.torch = portable_lib._load_for_executorch(file), 0, torch

    def _ahead(self, ids: list[int]) -> Any:
        positions = self.torch.arange(self.at, self.at + len(ids))
        (logits,) = self.module.forward((self.torch.tensor([ids]), positions))
        self.at += len(ids)
        return logits[0].float().numpy()

    def read(self, ids: list[int]) -> Any:
        self.at = 0
        return np.concatenate([self._ahead([token])[-1:] for token in ids])

    def start(self, ids: list[int]) -> Any:
        self.at = 0
        return self._ahead(ids)[-1]

    def next(self, token: int) -> Any:
        return self._ahead([token])[-1]


class LitertTorch:
    """What litert_torch's export_hf makes: prefill_128 and decode with caches and a mask."""

    def __init__(self, file: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=file, num_threads=1)
        names = self.interpreter.get_signature_list()
        self.runners = {name: self.interpreter.get_signature_runner(name) for name in names}
        self.caches: dict[str, Any] = {}
        self.prefill = next(n for n in names if n.startswith("prefill"))
        self.chunk = self.runners[self.prefill].get_input_details()["tokens"]["shape"][1]

    def _call(self, name: str, ids: list[int]) -> Any:
        details = self.runners[name].get_input_details()
        feed = dict(self.caches)
        count = details["tokens"]["shape"][1]
        positions = np.arange(self.at, self.at + count, dtype=np.int32)
        feed["tokens"] = np.array([ids + [0] * (count - len(ids))], np.int32)
        feed["input_pos"] = positions
        if "mask" in details:
            seen = np.arange(details["mask"]["shape"][-1])[None] <= positions[:, None]
            feed["mask"] = np.where(seen, 0, np.float32(-1e9)).astype(np.float32)[None, None]
        made = self.runners[name](**feed)
        self.caches = {n: made[n] for n in self.caches}
        self.at += len(ids)
        return made.get("logits")

    def _begin(self) -> None:
        details = self.runners["decode"].get_input_details()
        self.at, self.caches = (
            0,
            {n: np.zeros(d["shape"], np.float32) for n, d in details.items() if n.startswith("kv_cache")},
        )

    def read(self, ids: list[int]) -> Any:
        self._begin()
        return np.concatenate([self._call("decode", [token])[0] for token in ids])

    def start(self, ids: list[int]) -> Any:
        self._begin()
        for first in range(0, len(ids) - 1, self.chunk):
            self._call(self.prefill, ids[first : min(first + self.chunk, len(ids) - 1)])
        return self.next(ids[-1])

    def next(self, token: int) -> Any:
        return self._call("decode", [token])[0, -1]


KINDS: dict[str, Any] = {
    "slm-export": SlmExport,
    "genai": Genai,
    "llama.cpp": LlamaCpp,
    "executorch": ExecuTorch,
    "litert-torch": LitertTorch,
}


def main(kind: str, file: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runtimes print
    runner: Kind = KINDS[kind](file)
    for line in sys.stdin:
        asked, answer = json.loads(line), {}
        if "read" in asked:
            np.save(asked["to"], np.asarray(runner.read(asked["read"]), np.float32))
        else:
            started = time.process_time()
            logits = runner.start(asked["time"])
            read = time.process_time()
            for _ in range(asked["written"]):
                logits = runner.next(int(np.argmax(logits)))
            answer = {"read": read - started, "written": time.process_time() - read}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The runners that others make for causal language models, on what is exported: ExecuTorch's, LiteRT-LM, genai."""

import pytest


def written_by_executorch(bundle, prompt, *, most, times=1):
    """What its LLM runner writes after `prompt`, as many times as asked of one runner."""
    import executorch.extension.llm.custom_ops.custom_ops
    import executorch.kernels.quantized  # noqa: F401, both register operators
    from executorch.extension.llm.runner import GenerationConfig, TextLLMRunner

    runner = TextLLMRunner(str(bundle / "executorch/model.pte"), str(bundle / "tokenizer/tokenizer.json"))
    made = []
    for _ in range(times):
        pieces: list[str] = []
        runner.generate(prompt, GenerationConfig(echo=False, max_new_tokens=most, temperature=0.0), pieces.append)
        made.append("".join(pieces))
        runner.reset()
    return made


def litert_lm_engine(bundle):
    litert_lm = pytest.importorskip("litert_lm")
    return litert_lm.Engine(str(bundle / "tflite/model.litertlm"), backend=litert_lm.Backend.CPU())


def written_by_genai(model, ids, *, most=None):
    """`ids` and what onnxruntime-genai's loop writes behind them: `most` tokens or, greedily or not, as the folder's
    genai_config.json says."""
    import onnxruntime_genai as genai

    params = genai.GeneratorParams(model)
    if most is not None:
        params.set_search_options(max_length=len(ids) + most, do_sample=False)
    generator = genai.Generator(model, params)
    generator.append_tokens(ids)
    while not generator.is_done():
        generator.generate_next_token()
    return generator.get_sequence(0).tolist()

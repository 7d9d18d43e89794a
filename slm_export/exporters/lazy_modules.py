"""Graph modules whose Python code is written when somebody wants to run it.

torch.fx writes and compiles a graph's code whenever the graph changes. Passes that rewrite graphs interpret them node
by node and never run that code: lowering SmolLM2 for ExecuTorch compiled 18,400 graphs, and ran 370.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def compiled_when_run() -> Iterator[None]:
    """Within it, a changed graph is compiled when its module's `forward` is asked for, after it too."""
    import torch
    from torch.fx.graph import _PyTreeCodeGen

    compiled = torch.fx.GraphModule.recompile

    class Later:
        """Stands as `forward` in the class that each graph module has to itself."""

        def __init__(self, module: Any) -> None:
            self.module = weakref.ref(module)

        def __get__(self, module: Any, kind: type) -> Any:
            compiled(self.module())  # puts the true one in its place
            return getattr(kind if module is None else module, "forward")  # noqa: B009, mypy takes kind's for Later

    def later(module: Any) -> None:
        code = module._graph._codegen
        if isinstance(code, _PyTreeCodeGen):
            module._in_spec, module._out_spec = code.pytree_info.in_spec, code.pytree_info.out_spec
        module._code = "# not compiled yet"
        type(module).forward = Later(module)

    torch.fx.GraphModule.recompile = later
    try:
        yield
    finally:
        torch.fx.GraphModule.recompile = compiled

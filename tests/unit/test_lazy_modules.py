"""Graph modules that are compiled when they are run."""

import copy

import torch

from slm_export.exporters.lazy_modules import compiled_when_run


def changed():
    """x + 1, made to be x * 1 + 1 after it was compiled or not."""
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    one = graph.call_function(torch.add, (x, 1))
    graph.output(one)
    module = torch.fx.GraphModule({}, graph)
    with graph.inserting_before(one):
        one.replace_input_with(x, graph.call_function(torch.mul, (x, 3)))
    module.recompile()
    return module


def test_a_module_computes_what_its_graph_says_within_and_after():
    with compiled_when_run():
        module = changed()
        assert module(torch.tensor(2)) == 7
        other = changed()
    assert other(torch.tensor(2)) == 7 and "mul" in other.code
    assert changed()(torch.tensor(2)) == 7, "as ever"


def test_it_can_be_copied_traced_and_asked_for_its_code_before_it_is_run():
    with compiled_when_run():
        assert copy.deepcopy(changed())(torch.tensor(2)) == 7
        assert torch.fx.symbolic_trace(changed())(torch.tensor(2)) == 7
        assert type(changed()).forward is not None and "not compiled" in str(changed())


def test_a_change_after_it_was_run_counts():
    with compiled_when_run():
        module = changed()
        module(torch.tensor(2))
        (product,) = (n for n in module.graph.nodes if n.target is torch.mul)
        product.update_arg(1, 5)
        module.recompile()
        assert module(torch.tensor(2)) == 11


def test_nothing_is_compiled_that_is_not_run(monkeypatch):
    compiled = []
    whole = torch.fx.GraphModule.recompile
    monkeypatch.setattr(torch.fx.GraphModule, "recompile", lambda module: (compiled.append(module), whole(module))[1])
    with compiled_when_run():
        module = changed()
        assert not compiled
        module(torch.tensor(2))
    assert compiled == [module]

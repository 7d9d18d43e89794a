"""Every task's module has what the contract in tasks/__init__.py lists."""

import re

import pytest

from slm_export import tasks
from slm_export.names import TASKS

ALL, OF_DECODERS = tasks.__doc__.split("A task of GENERATING")
OF_GENERATING, OF_ENCODER_DECODERS = OF_DECODERS.split("and an encoder-decoder")


def listed(text):
    lines = re.findall(r"^    (\S.*?)  ", text, flags=re.M)
    return [name for line in lines for name in re.findall(r"(\w+)(?:\([^)]*\))?(?:, |$)", line)]


def test_every_task_has_a_meaning_and_a_module():
    assert set(tasks.TASKS) == set(TASKS)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_task_has_what_the_contract_lists(task):
    names = listed(ALL)
    assert {"AUTO_CLASS", "INPUTS", "OUTPUTS", "graph", "run", "cut", "measure"} <= set(names) and len(names) == 20
    if task in tasks.GENERATING:
        assert "execute" in listed(OF_GENERATING)
        names = [n for n in names if n not in ("graph", "cut")] + listed(OF_GENERATING)
    if task in tasks.ENCODER_DECODERS:
        assert "wanted" in listed(OF_ENCODER_DECODERS)
        names = [n for n in names if n != "TAUGHT_BY"] + listed(OF_ENCODER_DECODERS)
    assert [n for n in names if not hasattr(tasks.get(task), n)] == []

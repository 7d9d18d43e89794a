"""What artifacts answer, whichever process made them: tests here share processes, which saves a third of their time."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _warm(warm):
    """Every test of the folder."""

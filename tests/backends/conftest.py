"""What artifacts answer, whichever process made them: tests here share processes, and save half of their time."""

import pytest


@pytest.fixture(scope="package", autouse=True)
def _warm(warm):
    """Every test of the folder."""

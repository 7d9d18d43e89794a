"""Bundles: what an app or a board takes. Written whole or not at all, and verified with a runtime and numpy alone."""

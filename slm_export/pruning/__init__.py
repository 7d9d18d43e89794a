"""Pruning: a smaller model out of the reference, before quantization. What goes is decided
once, and done again by name."""

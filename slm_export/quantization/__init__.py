"""Quantization: once, in PyTorch space. Plans, integers, and the compressed model run eager."""

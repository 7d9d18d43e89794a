"""Parity: does the artifact answer like the reference? Metrics, the verdict, and the report."""

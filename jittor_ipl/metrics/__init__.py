"""Comparing sets of pictures: features once per set, many reductions of them (docs/metrics.md)."""

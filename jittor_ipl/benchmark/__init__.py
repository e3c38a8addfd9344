"""The benchmark of adaptation methods: train, measure and tabulate every (method, style, seed); docs/benchmark.md."""

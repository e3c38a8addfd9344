#!/usr/bin/env python3
"""Weights and seeds in, pictures out: results/<suite>/<NN>/<name>.png, seeds.json and manifest.json."""
from jittor_ipl.cli import run_all

if __name__ == "__main__":
    raise SystemExit(run_all())

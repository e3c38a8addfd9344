#!/usr/bin/env python3
"""Regenerate the pictures of B_weight/**/seeds.json and compare them with the recorded ones; exit code 1 when any differs."""
from jittor_ipl.cli import verify

if __name__ == "__main__":
    raise SystemExit(verify())

#!/usr/bin/env python3
"""Make the pictures of B_weight/**/seeds.json again and compare them with the record; exit code 1 when any differs."""
from jittor_ipl.cli import verify

if __name__ == "__main__":
    raise SystemExit(verify())

"""The worker's side of the page: the only part of it that imports Jittor."""

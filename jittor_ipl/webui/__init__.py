"""The web page and its JSON API: one process serves them, others own the models. Only `work/` imports Jittor."""

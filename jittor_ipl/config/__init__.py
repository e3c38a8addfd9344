"""Typed, closed configuration: a suite file, its styles, and the resolved settings saved beside every result."""
from jittor_ipl.config.checks import choose_runs, class_prompts_of, prompts_of, prompts_path
from jittor_ipl.config.reading import load_config, load_suite, save_config, suite_path, to_yaml
from jittor_ipl.config.suite import StyleRun, Suite

__all__ = ["StyleRun", "Suite", "choose_runs", "class_prompts_of", "load_config", "load_suite", "prompts_of",
           "prompts_path", "save_config", "suite_path", "to_yaml"]

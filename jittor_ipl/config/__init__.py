"""Typed, closed configuration: a suite file, its styles, and the resolved settings saved beside every result."""
from jittor_ipl.config.checks import choose_lora_runs, choose_runs, class_prompts_of, prompts_of, prompts_path
from jittor_ipl.config.lora import LoraRun, LoraSuite
from jittor_ipl.config.reading import (
    load_config,
    load_lora_suite,
    load_run,
    load_suite,
    method_of,
    save_config,
    suite_path,
    to_yaml,
    with_images,
)
from jittor_ipl.config.suite import StyleRun, Suite

__all__ = ["LoraRun", "LoraSuite", "StyleRun", "Suite", "choose_lora_runs", "choose_runs", "class_prompts_of",
           "load_config", "load_lora_suite", "load_run", "load_suite", "method_of", "prompts_of", "prompts_path",
           "save_config", "suite_path", "to_yaml", "with_images"]

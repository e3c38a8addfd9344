"""Typed, closed configuration: a suite file, its styles, and the resolved settings saved beside every result."""
from jittor_ipl.config.checks import choose_runs, class_prompts_of, prompts_of, prompts_path
from jittor_ipl.config.reading import load_section, load_style_run, load_suite, save_config, suite_path, to_yaml
from jittor_ipl.config.sections import ClipModel, Generate, GeneratorTraining, Losses, MapperTraining, Run, Source
from jittor_ipl.config.suite import StyleEntry, StyleRun, Suite
from jittor_ipl.disk.names import folder_of, safe_name

__all__ = [
    "ClipModel", "Generate", "GeneratorTraining", "Losses", "MapperTraining", "Run", "Source", "StyleEntry", "StyleRun",
    "Suite", "choose_runs", "class_prompts_of", "folder_of", "load_section", "load_style_run",
    "load_suite", "prompts_of", "prompts_path", "safe_name", "save_config", "suite_path", "to_yaml"]

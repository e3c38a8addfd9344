"""Typed, closed configuration: a suite file, its styles, and the resolved settings saved beside every result."""
from .names import folder_of, safe_name
from .reading import check_prompts, load_section, load_style_run, load_suite, save_config, to_yaml
from .sections import ClipModel, Generate, GeneratorTraining, Losses, Mapper, Run, Source
from .suite import StyleEntry, StyleRun, Suite

__all__ = ["ClipModel", "Generate", "GeneratorTraining", "Losses", "Mapper", "Run", "Source", "StyleEntry", "StyleRun",
           "Suite", "check_prompts", "folder_of", "load_section", "load_style_run", "load_suite", "safe_name", "save_config", "to_yaml"]

"""What a run shows of its config, and the small comforts of `extras`."""

from __future__ import annotations

import warnings
from typing import Any

from omegaconf import DictConfig

from llmft.config.saved import settings


def apply_extras(cfg: DictConfig) -> None:
    """Do what ``extras`` asks for: print the config, silence warnings."""
    if cfg.extras.ignore_warnings:
        warnings.filterwarnings("ignore")
    if cfg.extras.print_config:
        print_tree(cfg)


def print_tree(cfg: DictConfig) -> None:
    """Print the resolved config as a tree, a branch for each group. Secrets from the environment are not shown."""
    from omegaconf import OmegaConf
    from rich import print as rich_print
    from rich.syntax import Syntax
    from rich.tree import Tree

    tree = Tree("config", style="dim", guide_style="dim")
    scalars: dict[str, Any] = {}
    for key, value in settings(cfg).items():
        if isinstance(value, dict) and value:
            text = OmegaConf.to_yaml(OmegaConf.create(value)).rstrip()
            tree.add(key, style="default").add(Syntax(text, "yaml", background_color="default"))
        elif value not in (None, {}, []):
            scalars[key] = value
    text = OmegaConf.to_yaml(OmegaConf.create(scalars)).rstrip()
    tree.add(Syntax(text, "yaml", background_color="default"))
    rich_print(tree)

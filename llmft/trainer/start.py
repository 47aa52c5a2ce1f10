"""How a run was asked for: what the command line said, before any part of the run was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmft.config import ROOT, settings, snapshot


@dataclass(frozen=True, slots=True)
class Start:
    """What other processes of the run cannot ask Hydra for."""

    folder: Path  # the run's
    config: str  # the text of its config.yaml
    settings: Mapping[str, Any]  # the same as plain values
    overrides: tuple[str, ...]
    choices: Mapping[str, str]  # the option of each group; what a dataset's for_<reward> stood for, by its own name
    parent: Path | None  # the run whose saved config this one repeats

    @classmethod
    def from_hydra(cls, cfg: Any) -> Start:
        """Of the job that Hydra is running."""
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        sources = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
        parents = [
            path for path in sources if (path / "manifest.json").is_file() and path.resolve() != folder.resolve()
        ]
        chosen = {group: option for group, option in hydra.runtime.choices.items() if not group.startswith("hydra/")}
        return cls(
            folder=folder,
            config=snapshot(cfg),
            settings=settings(cfg),
            overrides=tuple(hydra.overrides.task),
            choices={group: _stood_for(group, str(option)) for group, option in chosen.items() if option},
            parent=parents[0] if parents else None,
        )


def _stood_for(group: str, option: str) -> str:
    """An option whose file only names another one is that other one."""
    from omegaconf import OmegaConf

    file = ROOT / "conf" / group / f"{option}.yaml"
    if not option.startswith("for_") or not file.is_file():
        return option
    defaults = OmegaConf.to_container(OmegaConf.load(file)).get("defaults", [])  # type: ignore[union-attr]
    return next((one for one in defaults if isinstance(one, str) and one != "_self_"), option)

"""A table is refused with everything that is wrong with it."""

from __future__ import annotations

import pytest
from small_table import table_values, write_table

from experiments.spec import read
from llmft.config import ROOT, ConfigError


def refusal(folder, **changes) -> str:
    with pytest.raises(ConfigError) as caught:
        read(write_table(folder, **changes))
    return str(caught.value)


def test_a_table_is_read(tmp_path):
    table = read(write_table(tmp_path))
    assert table.columns() == ["heldout/accuracy/easy", "heldout/accuracy/hard"]
    assert list(table.rows["sft_then_grpo"].stages) == ["sft", "grpo"]


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "experiments").glob("*/table.yaml")), ids=lambda path: path.parent.name
)
def test_every_table_of_the_project_is_read(folder):
    read(folder.parent)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"title": None}, "title: missing; give it a value"),
        ({"blocks__methods__sed": [1]}, "blocks.methods.sed=[1]: there is no such key; remove it, or mend its name"),
        ({"blocks__methods__seeds": ["1"]}, "blocks.methods.seeds.0=1: input should be a valid integer"),
        ({"blocks__methods__seeds": [1, 1]}, "blocks.methods.seeds=[1, 1]: one seed stands there twice"),
        ({"blocks__methods__rows": ["grpo", "sft_then_grop"]}, "did you mean 'sft_then_grpo'?"),
        ({"blocks__methods__against": "luffy"}, "blocks.methods.against=luffy: there is no such name in the table"),
        ({"blocks__methods__pairs": [["grpo", "x"]]}, "blocks.methods.pairs=x: there is no such name"),
        ({"blocks__methods__axis": "share"}, "trainings.mixed.share: blocks.methods.axis needs it; give it a value"),
        ({"rows__base__step_0_of": "gpro"}, "rows.base.step_0_of=gpro: there is no such name"),
        ({"rows__base__step_0_of": "base"}, "rows.base.step_0_of=base: there is no such name"),
        ({"rows__base__step_0_of": None}, "rows.base: a row has stages, or is another's step 0"),
        ({"rows__grpo__stages": {"train": []}}, "rows.grpo.stages=train: this cannot be the name of a snapshot"),
        ({"rows__grpo__stages": {"own": {"module": "m", "arguments": []}}}, "rows.grpo.stages=own: the last stage"),
        ({"rows__grpo__trainings": ["hard"]}, "rows.grpo.trainings=hard: there is no such name"),
        ({"rows__a-b": {"label": "x", "step_0_of": "grpo"}}, "rows=a-b: a name becomes a part of a folder's"),
        ({"bars": [{"kind": "over", "row": "grpo", "training": "mixed", "metric": "easy"}]}, "bars.0.kind=over"),
        ({"bars": [{"kind": "below", "row": "grpo", "training": "mixed", "metric": "easy"}]}, "bars.0.bound"),
        ({"bars": [{"kind": "apart", "row": "grpo", "training": "mixed", "metric": "x", "against": "base"}]},
         "bars.0.metric=x: there is no such name"),
        ({"equal_wall": ["ppo"]}, "equal_wall=ppo: there is no such name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_place(tmp_path, changes, told):
    assert told in refusal(tmp_path, **changes)


def test_all_of_it_at_once(tmp_path):
    told = refusal(tmp_path, equal_wall=["ppo"], rows__base__step_0_of="x")
    assert told.startswith("2 faults")


def test_a_folder_without_a_table_and_a_file_that_is_no_yaml(tmp_path):
    with pytest.raises(ConfigError, match=r"table=\w+: there is no .*/table.yaml; name a folder that has one"):
        read(tmp_path)
    (tmp_path / "table.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"table.yaml: no YAML \(.*\); mend it"):
        read(tmp_path)


def test_the_miniature_is_not_changed_by_its_changes():
    assert table_values(title=None) != table_values()

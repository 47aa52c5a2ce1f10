"""SFT against TRL's SFTTrainer: tokens per second, padded and packed, and peak memory.

    python benchmarks/sft.py [--repeats 5] [--steps 12] [--cases lab 5M gsm8k] [--json FILE]

Both sides train the same weights on the same tasks in the same order, as many rows per optimizer step, on the answers
alone, in float32 with fused AdamW and clipped gradients. Ours is `train.py` as users run it, run folder, metrics and
progress included. TRL has gradient checkpointing, logging and saving off, and is given rows that are tokenised already,
which ours are not. *Padded*: the defaults of both but TRL's order, which is ours. *Packed*: ``algorithm.packing`` against
TRL's best-fit-decreasing; of the ways to pass its packed tokens through the model TRL gets the one that is fastest here.

A token is one of a prompt or an answer; padding counts for nothing. Each turn of each side is a process of its own; the
sides take turns, and the first steps of each are dropped. A ratio is ours by TRL's within one turn. Besides tokens per
second of wall time, ratios of processor time are given, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["LLMFT_TARGETS"] = "sft_clock."  # so that a config may name `Clock`

import torch
from side_by_side import in_new_process, in_turns, machine, middle, paired_ratios, peak_mib, table

from llmft.config import ROOT, build, compose, part, settings, snapshot
from llmft.seeds import Seeds

BAR, SKIP = 1.3, 2  # first steps of a turn, in which memory is first touched
BASE = str(ROOT / "bases" / "lab_addition_seed1")
GSM8K = ROOT.parent / "shared" / "data" / "gsm8k"
FIVE_MILLION = {"hidden_size": 256, "layers": 6, "heads": 8, "ffn_size": 768, "context": 512}
CASES: dict[str, dict[str, Any]] = {  # rows per optimizer step, and what the config is told; the packed rows fill a pass
    "lab": {"rows": 64, "packing": 1024, "model": {}, "dataset": ["dataset=lab_addition", "dataset.tier=mixed"]},
    "5M": {"rows": 64, "packing": 512, "model": FIVE_MILLION, "dataset": ["dataset=lab_addition", "dataset.tier=mixed"]},
    "gsm8k": {"rows": 16, "packing": 4096, "model": {"context": 1024},
              "dataset": ["dataset=gsm8k", f"dataset.path={GSM8K}", "dataset.system=null"]},
}  # fmt: skip
# A packed pass of TRL is one row of `max_length` · `per_device_train_batch_size` tokens, and attention looks at all of it.
PACKED = ((128, 1), (256, 1), (512, 1), (128, 4), (256, 2))


def config(case: str, folder: str, steps: int, packed: bool) -> Any:
    chosen = CASES[case]
    return compose([
        "algorithm=sft", "model=hf", f"model.path={folder}", *chosen["dataset"], "seed=1",
        f"algorithm.tasks_per_step={chosen['rows']}", "algorithm.max_length=1024",
        *([f"algorithm.packing={chosen['packing']}"] if packed else []),
        f"trainer.max_steps={steps + 1}", f"trainer.checkpoint_every={10**6}", "evaluation.every=null",
        "objective=train/loss", "+callbacks.clock._target_=sft_clock.Clock",
    ])  # fmt: skip


def make_model(case: str, folder: Path) -> str:
    """The folder of the case's model, made there if it is not the lab's base."""
    if not CASES[case]["model"]:
        return BASE
    cfg = compose(["model=scratch", *(f"model.{name}={value}" for name, value in CASES[case]["model"].items())])
    source = part(cfg.model)()
    source.load(quantization=None, adapter=None, seeds=Seeds(0)).save(folder / case)
    source.tokens().save(folder / case)
    return str(folder / case)


def drawn_rows(cfg: Any, steps: int) -> list[Any]:
    """The rollouts that the run of ``cfg`` trains on, in its order."""
    from llmft.algorithm.sft import SFT
    from llmft.dataset.stream import TaskStream

    algorithm: SFT = part(cfg.algorithm)(tokens=part(cfg.model)().tokens(), reward=build(cfg.reward))
    stream = TaskStream(part(cfg.dataset)().load().train, Seeds(cfg.seed).child("tasks"))
    return [algorithm.answers(one)[0] for one in stream.take(steps * cfg.algorithm.tasks_per_step)]


def ours(case: str, folder: str, steps: int, packed: bool, _: dict[str, Any]) -> dict[str, Any]:
    """`train.py`, with one checkpoint, after the last step, which is not counted."""
    from sft_clock import Clock

    from llmft.trainer.start import Start

    sys.path.insert(0, str(ROOT))
    from train import fit

    cfg = config(case, folder, steps, packed)
    with tempfile.TemporaryDirectory() as run, contextlib.redirect_stdout(io.StringIO()):
        fit(cfg, Start(Path(run), snapshot(cfg), settings(cfg), (), {}, None))
    rows = drawn_rows(cfg, steps)
    sizes = [len(one.prompt_ids) + len(one.token_ids) for one in rows]
    share = cfg.algorithm.tasks_per_step
    return _measured(
        Clock.stamps[:steps], [sum(sizes[at * share : (at + 1) * share]) for at in range(steps)], Clock.losses
    )


def trl_arguments(cfg: Any, steps: int, **changed: Any) -> dict[str, Any]:
    """What SFTConfig is told: what our config says, and whatever makes it faster."""
    return {
        "max_steps": steps, "per_device_train_batch_size": cfg.algorithm.tasks_per_step, "max_length": 1024,
        "completion_only_loss": True, "loss_type": "nll", "train_sampling_strategy": "sequential",
        "learning_rate": cfg.optimizer.lr, "adam_beta1": cfg.optimizer.betas[0], "adam_beta2": cfg.optimizer.betas[1],
        "weight_decay": cfg.optimizer.weight_decay, "optim": "adamw_torch_fused", "lr_scheduler_type": "constant",
        "max_grad_norm": cfg.trainer.max_grad_norm, "gradient_checkpointing": False, "use_cpu": True, "bf16": False,
        "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "logging_nan_inf_filter": False, "dataloader_pin_memory": False, "seed": cfg.seed, **changed,
    }  # fmt: skip


def trl(case: str, folder: str, steps: int, packed: bool, changed: dict[str, Any]) -> dict[str, Any]:
    from datasets import Dataset, disable_progress_bars
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    cfg = config(case, folder, steps, packed)
    rows = drawn_rows(cfg, steps + 2 if packed else steps)
    dataset = Dataset.from_list([
        {"input_ids": [*one.prompt_ids, *one.token_ids], "labels": [-100] * len(one.prompt_ids) + [*one.token_ids]}
        for one in rows
    ])  # fmt: skip
    source = part(cfg.model)()
    model = source.load(quantization=None, adapter=None, seeds=Seeds(0)).model
    stamps: list[tuple[float, float]] = []
    losses: list[float] = []

    class Stamps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append((time.perf_counter(), time.process_time()))

    class Watched(SFTTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            losses.append(float(loss))
            return loss

    tokens: list[int] = []
    with tempfile.TemporaryDirectory() as out:
        arguments = SFTConfig(output_dir=out, **trl_arguments(cfg, steps, **changed))
        trainer = Watched(model, arguments, train_dataset=dataset, processing_class=source.tokens().tokenizer)
        trainer.add_callback(Stamps())
        per_step = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        sizes = [len(ids) for ids in trainer.train_dataset["input_ids"]]
        tokens = [sum(sizes[at * per_step : (at + 1) * per_step]) for at in range(steps)]
        trainer.train()
    return _measured(stamps, tokens, losses)


def _measured(stamps: Sequence[tuple[float, float]], tokens: Sequence[int], losses: Sequence[float]) -> dict[str, Any]:
    """Tokens per second of the steps after the first ones, by either clock."""
    spans = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(stamps[SKIP - 1 :], stamps[SKIP:], strict=False)]
    counted = tokens[SKIP : SKIP + len(spans)]
    wall, processor = (statistics.median(n / span[k] for n, span in zip(counted, spans, strict=True)) for k in (0, 1))
    return {"wall": wall, "processor": processor, "loss": losses[0], "peak_mib": peak_mib()}


SIDES = {"llmft": ours, "TRL": trl}


def turn(
    side: str, case: str, folder: str, steps: int, packed: bool, changed: dict[str, Any], _: int
) -> dict[str, Any]:
    """One side once, in a process of its own."""
    arguments = {"case": case, "folder": folder, "steps": steps, "packed": packed, "changed": changed}
    return in_new_process(__file__, ["--side", side, json.dumps(arguments)])


def fastest_packed(case: str, folder: str, steps: int) -> dict[str, Any]:
    """Arguments with which TRL's packed step is fastest here, of about as many tokens as a padded step has."""
    tokens = CASES[case]["rows"] * (600 if case == "gsm8k" else 36)
    longest = 1024 if case == "gsm8k" else 64
    tried = {}
    for length, rows in PACKED:
        length = max(length, longest)
        accumulate = max(1, round(tokens / (length * rows)))
        shape = {"packing": True, "max_length": length, "per_device_train_batch_size": rows}
        tried[length, rows] = {**shape, "gradient_accumulation_steps": accumulate}
    speeds = {key: turn("TRL", case, folder, steps, True, value, 0)["processor"] for key, value in tried.items()}
    shown = [[f"{length} x {rows}", f"{speed:,.0f}"] for (length, rows), speed in speeds.items()]
    print(table(["TRL packed: tokens x rows of a pass", "tokens per processor second"], shown), "\n")
    return tried[max(speeds, key=lambda key: speeds[key])]


def compare(case: str, folder: str, steps: int, repeats: int, packed: bool) -> dict[str, Any]:
    changed = fastest_packed(case, folder, steps) if packed else {}
    print(f"{case}, TRL with {trl_arguments(config(case, folder, steps, packed), steps, **changed)}\n", flush=True)
    sides = {side: partial(turn, side, case, folder, steps, packed, changed) for side in SIDES}
    results = in_turns(sides, repeats)
    of = {(side, key): [one[key] for one in results[side]] for side in SIDES for key in results[side][0]}
    ratios = {clock: paired_ratios(of["llmft", clock], of["TRL", clock]) for clock in ("wall", "processor")}
    return {"case": case, "packed": packed, "ratios": ratios, "of": {" ".join(key): value for key, value in of.items()}}


def row(result: dict[str, Any]) -> list[object]:
    of, ratios = result["of"], result["ratios"]
    return [
        result["case"], "packed" if result["packed"] else "padded",
        middle(of["llmft wall"], 0), middle(of["TRL wall"], 0),
        middle(ratios["wall"], 2), middle(ratios["processor"], 2), BAR,
        *(f"{statistics.median(of[f'{side} peak_mib']):,.0f}" for side in SIDES),
        "" if result["packed"] else f"{abs(of['llmft loss'][0] - of['TRL loss'][0]):.0e}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write everything here")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["lab", "5M"])
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "ARGUMENTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.side:
        name, given = arguments.side
        print("\n" + json.dumps(SIDES[name](*json.loads(given).values())))
        return
    print(machine(1, ("torch", "transformers", "trl", "lightning")), "\n")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            model = make_model(case, Path(folder))
            results += [compare(case, model, arguments.steps, arguments.repeats, packed) for packed in (False, True)]
    header = ["model and data", "", "llmft tokens/s", "TRL tokens/s", "ratio", "of processor time", "bar"]
    print(table([*header, "llmft MiB", "TRL MiB", "first losses differ by"], [row(one) for one in results]))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

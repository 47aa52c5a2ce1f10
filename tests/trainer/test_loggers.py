"""Loggers write into the run's folder, and nowhere else, what `metrics.csv` has: every value of every step."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from cutting import Cut, CutAfter

from llmft.config import build, compose
from llmft.trainer import loggers
from llmft.trainer.metrics import read

KEY = "0" * 40


@pytest.fixture(autouse=True)
def _at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no key of whoever runs the tests
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_ERROR_REPORTING", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()


def table(folder):
    """(step, metric) to value, of ``metrics.csv``."""
    rows = read(folder / "metrics.csv")
    return {(row["step"], name): value for row in rows for name, value in row.items() if name != "step"}


def event_files(folder):
    """(step, metric) to value, as TensorBoard shows them; a step that is there twice fails."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    found = [((one.step, name), one.value) for name in events.Tags()["scalars"] for one in events.Scalars(name)]
    assert len(dict(found)) == len(found)
    return dict(found), events


def records(file):
    """The records of a ``.wandb`` file: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def wandb_history(folder):
    """(step, metric) to value of the newest W&B run in a folder; a step that is there twice fails."""
    (file,) = (folder / "wandb" / "latest-run").resolve().glob("*.wandb")
    found = {}
    for record in records(file):
        if record.WhichOneof("record_type") != "history":
            continue
        items = {"/".join([item.key, *item.nested_key]).lstrip("/"): item.value_json for item in record.history.item}
        step = json.loads(items.pop("_step"))
        for name, text in items.items():
            if not name.startswith("_"):
                assert (step, name) not in found
                found[step, name] = float(json.loads(text))
    return found


def assert_same(found, expected, *, of=float):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        want = of(value)
        assert found[key] == want or (math.isnan(found[key]) and math.isnan(want)), key


def logged(session, kind="grpo", *names, **options):
    """A run with these loggers, as a config has them; one that is ``cut`` after a step is continued."""
    cut, steps = options.pop("cut", None), options.pop("max_steps", 4)
    for resume in [False, *([True] if cut else [])]:
        callbacks = {"cut": CutAfter(cut)} if cut and not resume else None
        one = session(kind, max_steps=steps, resume=resume, callbacks=callbacks, **options)
        one.trainer.loggers = {name: build(compose([f"logger={name}"]).logger)[name] for name in names}
        if callbacks:
            with pytest.raises(Cut):
                one.fit()
        else:
            one.fit()


def test_csv_is_nothing_besides():
    assert build(compose(["logger=csv"]).logger) is None


def test_many_is_all_of_them():
    assert set(build(compose(["logger=many"]).logger)) == {"tensorboard", "wandb"}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("grpo", {"train/loss", "train/reward_mean", "train/kl", "train/entropy", "heldout/accuracy"}),
        ("sft", {"train/loss", "train/perplexity", "heldout/perplexity"}),
    ],
)
def test_every_logger_has_every_value_of_every_step(kind, names, session, tmp_path):
    logged(session, kind, "tensorboard", "wandb")
    expected = table(tmp_path / "run")
    assert {step for step, _ in expected} == {0, 1, 2, 3, 4}
    assert names <= {name for _, name in expected}
    assert_same(event_files(tmp_path / "run")[0], expected, of=lambda value: float(np.float32(value)))
    assert_same(wandb_history(tmp_path / "run"), expected)


@pytest.mark.parametrize("cut", [1, 3])
def test_a_continued_run_has_each_step_once(cut, session, tmp_path):
    # Cut behind a checkpoint, or before the first: the rows since then are logged, and made again.
    logged(session, "sft", "tensorboard", "wandb", cut=cut, max_steps=5, checkpoint_every=2)
    expected = table(tmp_path / "run")
    assert {step for step, _ in expected} == {0, 1, 2, 3, 4, 5}
    assert_same(event_files(tmp_path / "run")[0], expected, of=lambda value: float(np.float32(value)))
    assert_same(wandb_history(tmp_path / "run"), expected)


def test_the_config_is_logged(session, tmp_path):
    one = session("sft", max_steps=1)
    (tmp_path / "run" / "config.yaml").write_text("seed: 3\nalgorithm: {group_size: 8}\nckpt_path: null\n")
    one.trainer.loggers = build(compose(["logger=many"]).logger)
    one.fit()
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    _, events = event_files(tmp_path / "run")
    kept = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = HParamsPluginData.FromString(kept).session_start_info.hparams
    assert (start["seed"].number_value, start["algorithm.group_size"].number_value) == (3, 8)
    experiment = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    metrics = HParamsPluginData.FromString(experiment).experiment.metric_infos
    assert [one.name.tag for one in metrics] == ["heldout/accuracy"]
    (file,) = (tmp_path / "run" / "wandb" / "latest-run").resolve().glob("*.wandb")
    updates = [update for record in records(file) for update in record.config.update]
    assert {update.key: json.loads(update.value_json) for update in updates if update.key in ("seed", "algorithm")} == {
        "seed": 3, "algorithm": {"group_size": 8}
    }  # fmt: skip


def test_two_runs_of_one_process_are_two_of_wandb(session, tmp_path):
    for name in ("one", "two"):
        one = session("line", tmp_path / name, max_steps=1)
        one.trainer.loggers = build(compose(["logger=wandb"]).logger)
        one.fit()
    assert_same(wandb_history(tmp_path / "one"), table(tmp_path / "one"))
    assert_same(wandb_history(tmp_path / "two"), table(tmp_path / "two"))
    ids = {next((tmp_path / name / "wandb").glob("offline-run-*")).name.rpartition("-")[2] for name in ("one", "two")}
    assert len(ids) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "home"}


class Refuses(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def do_POST(self):
        self.send_error(403, "not you")

    def log_message(self, *_):
        pass


@pytest.fixture
def refusing():
    """The address of a server that answers, and lets nobody in."""
    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def silent(monkeypatch):
    """The address of a server that takes a call and says nothing."""
    monkeypatch.setattr(loggers, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("where", "key", "why"),
    [
        ("nowhere", KEY, "http://127.0.0.1:1: it does not answer"),
        ("silent", KEY, "it does not answer"),
        ("refusing", None, "there is no API key"),
        ("refusing", KEY, "Failed to authenticate"),
    ],
)
def test_wandb_goes_offline_and_says_so_once(where, key, why, session, tmp_path, monkeypatch, caplog, request):
    address = "http://127.0.0.1:1" if where == "nowhere" else request.getfixturevalue(where)
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setattr(loggers, "INIT_S", 2.0)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.teardown()  # it remembers the environment of its first run
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked at a prompt"))
    one = session("line", max_steps=2)
    one.trainer.loggers = build(compose(["logger=wandb", "logger.wandb.offline=false"]).logger)
    one.fit()
    assert_same(wandb_history(tmp_path / "run"), table(tmp_path / "run"))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("llmft")]
    assert len(said) == 1
    assert said[0].startswith(f"W&B goes offline, since {address}: ")
    assert why in said[0]


@pytest.mark.parametrize(("offline", "environment"), [("true", "online"), ("false", "offline")])
def test_offline_is_said_by_the_config_or_the_environment(offline, environment, session, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", environment)
    monkeypatch.setattr(loggers, "_answers", lambda address: pytest.fail("asked the network"))
    one = session("line", max_steps=1)
    one.trainer.loggers = build(compose(["logger=wandb", f"logger.wandb.offline={offline}"]).logger)
    one.fit()
    assert [record for record in caplog.records if record.name.startswith("llmft")] == []

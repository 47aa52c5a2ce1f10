"""The config's own model as the author."""

from __future__ import annotations

from collecting import BASE, OWN


def test_own_samples_are_the_good_ones_of_the_models(collect, accepted, rejected):
    assert collect("--own", "--samples", "4", lab=OWN)[0] == 0
    assert len(accepted()) + len(rejected()) == 80
    assert 0.15 < len(accepted()) / 80 < 0.7  # as the base's test says of single samples
    assert all(row["trace"].rpartition("#")[2] == row["answer"] for row in accepted())
    assert not any(row["trace"].rpartition("#")[2] == row["answer"] for row in rejected())
    assert {row["source"] for row in accepted()} == {BASE}


def test_own_samples_are_made_on_as_if_undisturbed(collect, accepted, rejected, tmp_path):
    collect("--own", "--samples", "4", lab=OWN)
    whole, bad = accepted(), rejected()
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]) + b'{"id": "addi')
    (tmp_path / "traces.rejected.jsonl").unlink()
    code, said = collect("--own", "--samples", "4", lab=OWN)
    assert code == 0
    assert "of which only the beginning was written" in said
    assert (accepted(), rejected()) == (whole, bad)

"""The experiment of benchmarks/results.py: what is run again, what is paired, and what is written into the page."""

import csv
import json
from pathlib import Path

import pytest

from benchmarks.experiment.arms import Places, arm_jobs, finetune_jobs, write_manifest, write_training_speakers
from benchmarks.experiment.figures import predictions_of
from benchmarks.experiment.jobs import LOG, RECORD, Job
from benchmarks.experiment.page import arm_table, difference_table, differences, draw_differences, write_blocks
from benchmarks.experiment.protocol import FROZEN, NONE, RESNET10, SHARES, SHUFFLED, UNTRAINED, WEAK, Arm
from lanser_ops.common.errors import InputError
from training.predictions import Prediction, write_predictions

SPEAKERS = ("01", "02", "03", "04")
LABELS = ("joy", "fear")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(
        {"ekman": tmp_path / "ekman", "goemotions": tmp_path / "fine"}, tmp_path / "ravdess", tmp_path / "out"
    )


def finish(arm: Arm, seed: int, errors: int, places: Places) -> None:
    """Leave what a fine-tuning would: of every speaker's four clips at each share, ``errors`` of joy are wrong."""
    (job,) = finetune_jobs(FROZEN, arm, seed, places, SHARES)
    rows = []
    for share in SHARES:
        for speaker in SPEAKERS:
            for number, gold in enumerate(("joy", "joy", "fear", "fear")):
                predicted = "fear" if number < errors else gold
                clip = f"{speaker}/{number}.flac"
                rows.append(Prediction(share, seed, 0, clip, speaker, gold, predicted, dict.fromkeys(LABELS, 0.5)))
    job.output.mkdir(parents=True)
    write_predictions(job.output / "predictions.jsonl", rows)
    (job.output / RECORD).write_text(json.dumps({"command": job.command, "cpu_s": 1.0}))


def test_a_job_runs_once(tmp_path: Path):
    job = Job(tmp_path / "job", ("taxonomies", "ekman"))
    assert job.seconds() is None
    job.run()
    assert job.seconds() is not None and "sadness" in (job.output / LOG).read_text()
    (job.output / LOG).unlink()
    job.run()
    assert not (job.output / LOG).exists()
    assert Job(job.output, ("taxonomies", "plutchik")).seconds() is None


def test_a_job_that_fails_is_named_and_not_done(tmp_path: Path):
    job = Job(tmp_path / "job", ("taxonomies", "no-such-taxonomy"))
    with pytest.raises(SystemExit, match="lanser taxonomies no-such-taxonomy: failed; see .*log.txt"):
        job.run()
    assert job.seconds() is None


def test_every_arm_is_run_for_a_seed_before_the_next_seed(places: Places):
    jobs = arm_jobs(FROZEN, (NONE, WEAK), (0, 1), places)
    assert [(job.arguments[0], job.output.name) for job in jobs] == [
        ("finetune", "0"), ("pretrain", "0"), ("finetune", "0"),
        ("finetune", "1"), ("pretrain", "1"), ("finetune", "1"),
    ]  # fmt: skip


def test_steps_are_in_proportion_to_the_share(places: Places):
    jobs = finetune_jobs(RESNET10, NONE, 3, places, (0.1, 0.25))
    assert [job.arguments[job.arguments.index("--steps") + 1] for job in jobs] == ["120", "300"]


def test_arms_are_compared_over_the_seeds_that_both_have(places: Places):
    for seed in (0, 1):
        finish(WEAK, seed, 0, places)
    finish(SHUFFLED, 0, 1, places)
    rows = differences(FROZEN, (SHUFFLED, UNTRAINED), (0, 1), places)
    assert [(row.baseline, row.share, row.seeds, row.ua.estimate) for row in rows] == [
        ("shuffled labels", 0.1, 1, 0.25),
        ("shuffled labels", 0.25, 1, 0.25),
    ]
    assert difference_table(rows).splitlines()[2] == (
        "| frozen Whisper | weak - shuffled labels | +25.0 (+25.0 to +25.0) | +25.0 (+25.0 to +25.0) | 1 |"
    )
    assert arm_table(FROZEN, (WEAK, SHUFFLED), (0, 1), places).splitlines()[2:] == [
        "| weak | 100.0 (100.0 to 100.0) | 100.0 (100.0 to 100.0) | 1 |",
        "| shuffled labels | 75.0 (75.0 to 75.0) | 75.0 (75.0 to 75.0) | 1 |",
    ]


def test_predictions_of_another_command_do_not_count(places: Places):
    finish(WEAK, 0, 0, places)
    elsewhere = Places(places.shards, places.ravdess / "other", places.work)
    assert list(predictions_of(FROZEN, WEAK, (0,), places)) == [0]
    assert predictions_of(FROZEN, WEAK, (0,), elsewhere) == {}


def test_the_plot_has_a_line_for_every_difference(places: Places, tmp_path: Path):
    finish(WEAK, 0, 0, places)
    finish(NONE, 0, 1, places)
    draw_differences(differences(FROZEN, (NONE,), (0,), places), tmp_path / "plot.svg")
    image = (tmp_path / "plot.svg").read_text()
    assert "<!-- frozen Whisper: weak - none, 10% -->" in image and "<!-- frozen Whisper: weak - none, 25% -->" in image


def test_only_the_blocks_that_were_made_are_replaced(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "A\n<!-- zero-shot: written by benchmarks/results.py -->\nold\n<!-- end -->\n"
        "B\n<!-- frozen: written by benchmarks/results.py -->\nold\n<!-- end -->\n"
    )
    write_blocks(page, {"frozen": "new"})
    assert page.read_text() == (
        "A\n<!-- zero-shot: written by benchmarks/results.py -->\nold\n<!-- end -->\n"
        "B\n<!-- frozen: written by benchmarks/results.py -->\nnew\n<!-- end -->\n"
    )


def test_the_manifest_takes_files_from_the_whole_folder(tmp_path: Path):
    for number in range(10):
        (tmp_path / f"{number}.wav").touch()
    path = write_manifest(tmp_path, 5, tmp_path / "speech.csv")
    assert [Path(row["path"]).name for row in csv.DictReader(path.open())] == [
        "0.wav", "2.wav", "4.wav", "6.wav", "8.wav",
    ]  # fmt: skip


def test_a_folder_without_speech_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no \.wav, \.flac or \.ogg files"):
        write_manifest(tmp_path, 5, tmp_path / "speech.csv")


def test_the_choice_sees_no_test_speaker_of_the_first_fold(places: Places):
    for actor in ("01", "02", "11", "20", "21"):
        folder = places.ravdess / f"Actor_{actor}"
        folder.mkdir(parents=True)
        (folder / f"03-01-05-01-01-01-{actor}.wav").touch()
    write_training_speakers(places)
    rows = list(csv.DictReader(places.training_speakers.open()))
    assert rows == [{"path": "Actor_02/03-01-05-01-01-01-02.wav", "label": "angry", "speaker": "02"}]

"""Calibration files: read back as written, and refused in one line that names file and line."""

from __future__ import annotations

import pytest

from schemas.calibration import Calibration, FittedOn, dump_calibration, parse_calibration
from schemas.strict_yaml import YamlError

SHA256 = "0" * 64  # which YAML would read as a number
FITTED_ON = FittedOn("moods", ("joy", "no", "1"), ("I feel {}.", "{}: yes"), "tiny NLI", SHA256, "all")
CONTENT = f"""\
version: 1
fitted_on:
  taxonomy: moods
  labels: [joy, fear]
  templates: ["I feel {{}}."]
  nli_model: tiny NLI
  nli_sha256: "{SHA256}"
  against: all
  rows: 187
values:
  prior_strength: 0.25
  temperature: 1.6
"""


def test_a_calibration_is_read_back_as_it_was_written():
    calibration = Calibration(FITTED_ON, 187, {"prior_strength": 0.25, "temperature": 1.6, "neutral_threshold": -0.5})
    parsed = parse_calibration(dump_calibration(calibration), "cal.yaml")
    assert (parsed.fitted_on, parsed.rows, dict(parsed.values)) == (FITTED_ON, 187, dict(calibration.values))
    assert parsed.path == "cal.yaml"


def test_a_file_written_by_hand():
    calibration = parse_calibration(CONTENT.encode(), "cal.yaml")
    assert calibration.fitted_on == FittedOn("moods", ("joy", "fear"), ("I feel {}.",), "tiny NLI", SHA256, "all")
    assert calibration.values == {"prior_strength": 0.25, "temperature": 1.6}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (CONTENT, "", "cal.yaml: is empty; write it with lanser calibrate"),
        ("version: 1", "version: 2", "cal.yaml:1: version is not 1, which this lanser reads; update lanser"),
        ("version: 1\n", "", "cal.yaml:1: the file has no 'version'; write the file with lanser calibrate"),
        ("  against: all\n", "", "cal.yaml:3: fitted_on has no 'against'; write the file with lanser calibrate"),
        ("[joy, fear]", "joy", "cal.yaml:4: labels is text; it must be a list"),
        ("1.6", "0", "cal.yaml:12: temperature is '0'; it must be a number from 0.05 to 20"),
        ("1.6", ".nan", "cal.yaml:12: temperature is '.nan'; it must be a number from 0.05 to 20"),
        ("1.6", "warm", "cal.yaml:12: temperature is 'warm'; it must be a number from 0.05 to 20"),
        ("1.6", "1:30", "cal.yaml:12: temperature is '1:30'; it must be a number from 0.05 to 20"),
        ("1.6", "[2]", "cal.yaml:12: temperature is a list; it must be a number from 0.05 to 20"),
        ("0.25", "1.5", "cal.yaml:11: prior_strength is '1.5'; it must be a number from 0 to 1"),
        (
            "temperature",
            "warmth",
            "cal.yaml:12: values has the unknown key 'warmth'; the keys are prior_strength, neutral_threshold, "
            "temperature, min_score, min_margin",
        ),
    ],
)
def test_a_bad_file_is_refused(old: str, new: str, message: str):
    with pytest.raises(YamlError) as refused:
        parse_calibration(CONTENT.replace(old, new).encode(), "cal.yaml")
    assert str(refused.value) == message

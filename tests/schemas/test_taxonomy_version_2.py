"""Taxonomy files of version 2: several hypotheses, the absence of emotion, groups, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from schemas.taxonomy import Label, Taxonomy, TaxonomyError, load_taxonomy, parse_taxonomy

HEAD = "name: mine\nversion: 2\n"
THREE = "labels:\n- joy\n- anger\n- neutral\n"
GROUPS = """\
labels:
- {name: good, members: [joy, love]}
- {name: bad, members: [fear]}
- {name: neutral, members: [calm]}
"""
FINE = "name: fine\nlabels:\n- {name: joy, hypothesis: happy}\n- love\n- {name: fear, hypothesis: afraid}\n- calm\n"


def refusal(text: str, where: str = "bad.yaml") -> str:
    with pytest.raises(TaxonomyError) as caught:
        parse_taxonomy(text, where)
    return str(caught.value)


def test_a_label_has_several_hypotheses():
    text = HEAD + "labels:\n- {name: anger, hypotheses: [angry, furious]}\n- {name: joy, hypothesis: happy}\n- calm\n"
    taxonomy = parse_taxonomy(text, "mine.yaml")
    labels = (Label("anger", ("angry", "furious")), Label("joy", ("happy",)), Label("calm", ("calm",)))
    assert taxonomy == Taxonomy("mine", labels, None, "", "max")
    assert taxonomy.hypotheses == ("angry", "furious", "happy", "calm")
    assert taxonomy.label_of == (0, 0, 1, 2)
    assert taxonomy.absence is None


@pytest.mark.parametrize("aggregate", ["max", "mean", "odds"])
def test_a_file_chooses_its_aggregate(aggregate):
    assert parse_taxonomy(f"{HEAD}aggregate: {aggregate}\n{THREE}", "mine.yaml").aggregate == aggregate


def test_neutral_may_be_the_absence_of_the_others():
    taxonomy = parse_taxonomy(f"{HEAD}neutral: absence\n{THREE}", "mine.yaml")
    assert taxonomy.labels == (Label("joy", ("joy",)), Label("anger", ("anger",)), Label("neutral", ()))
    assert (taxonomy.hypotheses, taxonomy.label_of, taxonomy.absence) == (("joy", "anger"), (0, 1), 2)


def test_the_labels_of_a_shipped_taxonomy_are_grouped():
    text = (
        f"{HEAD}group: cremad6\nlabels:\n- {{name: negative, members: [anger, Disgust, fear, sad]}}\n"
        "- {name: other, members: [neutral, happy]}\n"
    )
    assert parse_taxonomy(text, "mine.yaml").labels == (
        Label("negative", ("angry", "disgusted", "afraid", "sad")),
        Label("other", ("neutral", "happy")),
    )


def test_the_example_groups_goemotions_as_its_map_does():
    examples = Path(__file__).parents[2] / "examples"
    taxonomy = load_taxonomy(str(examples / "ekman-groups.yaml"))
    group_of = yaml.safe_load((examples / "goemotions-ekman.yaml").read_text())
    words = {label.hypotheses[0]: label.name for label in load_taxonomy("goemotions").labels}
    assert [label.name for label in taxonomy.labels] == [label.name for label in load_taxonomy("ekman").labels]
    assert {word: label.name for label in taxonomy.labels for word in label.hypotheses} == {
        word: group_of[name] for word, name in words.items()
    }


def test_the_labels_of_a_file_beside_it_are_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "fine.yaml").write_text(FINE + 'template: "I feel {}."\n')
    (tmp_path / "below" / "coarse.yaml").write_text(f"{HEAD}group: ../fine.yaml\n{GROUPS}")
    (tmp_path / "own.yaml").write_text(f'{HEAD}template: "We are {{}}."\ngroup: fine.yaml\nneutral: absence\n{GROUPS}')
    taxonomy = load_taxonomy(str(tmp_path / "below" / "coarse.yaml"))
    labels = (Label("good", ("happy", "love")), Label("bad", ("afraid",)), Label("neutral", ("calm",)))
    assert taxonomy == Taxonomy("mine", labels, "I feel {}.", "", "max")
    monkeypatch.chdir(tmp_path)
    assert load_taxonomy("own.yaml") == Taxonomy("mine", (*labels[:2], Label("neutral", ())), "We are {}.", "", "max")


def test_groups_are_grouped(tmp_path: Path):
    (tmp_path / "fine.yaml").write_text(FINE)
    (tmp_path / "coarse.yaml").write_text(f"{HEAD}group: fine.yaml\n{GROUPS}")
    (tmp_path / "two.yaml").write_text(
        f"{HEAD}group: coarse.yaml\nlabels:\n- {{name: a, members: [bad, good]}}\n- {{name: b, members: [neutral]}}\n"
    )
    labels = load_taxonomy(str(tmp_path / "two.yaml")).labels
    assert labels == (Label("a", ("afraid", "happy", "love")), Label("b", ("calm",)))


@pytest.mark.parametrize("names", [["a.yaml"], ["a.yaml", "b.yaml"]])
def test_a_circle_of_groups_is_refused(tmp_path: Path, names: list[str]):
    for name, next_name in zip(names, [*names[1:], names[0]], strict=True):
        (tmp_path / name).write_text(f"{HEAD}group: {next_name}\n{GROUPS}")
    with pytest.raises(TaxonomyError) as caught:
        load_taxonomy(str(tmp_path / "a.yaml"))
    inner = f"{tmp_path}/{names[-1]}:3: group 'a.yaml': the files group each other in a circle"
    assert str(caught.value) == (inner if len(names) == 1 else f"{tmp_path}/a.yaml:3: group: {inner}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"name: mine\nversion: 3\n{THREE}",
            "2: version '3' is none of 1 and 2, which this lanser reads; update lanser",
        ),
        (f"name: mine\nversion: []\n{THREE}", "2: version is none of 1 and 2, which this lanser reads; update lanser"),
        (
            f"name: mine\naggregate: max\n{THREE}",
            "2: the file has the key 'aggregate', which needs a line 'version: 2'",
        ),
        (
            f"name: mine\nneutral: absence\n{THREE}",
            "2: the file has the key 'neutral', which needs a line 'version: 2'",
        ),
        (
            f"name: mine\nversion: 1\ngroup: ekman\n{THREE}",
            "3: the file has the key 'group', which needs a line 'version: 2'",
        ),
        (
            "name: mine\nlabels:\n- joy\n- {name: anger, hypotheses: [angry]}\n",
            "4: label 2 has the key 'hypotheses', which needs a line 'version: 2'",
        ),
        (
            "name: mine\nlabels:\n- joy\n- {name: anger, members: [angry]}\n",
            "4: label 2 has the key 'members', which needs a line 'version: 2'",
        ),
        (f"{HEAD}aggregate: sum\n{THREE}", "3: aggregate is 'sum'; it must be max or mean or odds"),
        (
            f"{HEAD}aggregate: [max]\n{THREE}",
            "3: aggregate is a list; it must be text, in quotes if it begins with { or [",
        ),
        (f"{HEAD}neutral: threshold\n{THREE}", "3: neutral is 'threshold'; it must be absence"),
        (
            f"{HEAD}neutral: absence\nlabels: [joy, anger, calm]\n",
            "3: neutral is absence, but no label is called 'neutral'; add one",
        ),
        (
            f"{HEAD}neutral: absence\nlabels: [joy, neutral]\n",
            "3: neutral is absence, so at least two other labels are needed",
        ),
        (
            f"{HEAD}neutral: absence\nlabels: [joy, anger, {{name: neutral, hypothesis: calm}}]\n",
            "3: neutral is absence, but the label 'neutral' has hypotheses; remove either",
        ),
        (
            f"{HEAD}labels:\n- joy\n- {{name: anger, hypothesis: angry, hypotheses: [furious]}}\n",
            "5: label 2 'anger' has both hypothesis and hypotheses; remove one",
        ),
        (
            f"{HEAD}labels:\n- joy\n- {{name: anger, hypotheses: angry}}\n",
            "5: label 2 'anger': hypotheses is text; it must be a list, such as [angry, annoyed]",
        ),
        (
            f"{HEAD}labels:\n- joy\n- {{name: anger, hypotheses: []}}\n",
            "5: label 2 'anger': hypotheses is an empty list; at least one text is needed",
        ),
        (
            f"{HEAD}labels:\n- joy\n- name: anger\n  hypotheses:\n  - angry\n  - 7\n",
            "8: label 2 'anger': hypotheses is 7, which YAML reads as a number; put it in quotes: \"7\"",
        ),
        (
            f"{HEAD}labels:\n- joy\n- {{name: anger, hypotheses: [angry, Angry]}}\n",
            "5: label 2 'anger' has the hypothesis 'Angry' twice, ignoring case; give each its own",
        ),
        (
            f"{HEAD}labels:\n- joy\n- {{name: anger, hypotheses: [angry, joy]}}\n",
            "5: label 2 'anger' has the same hypothesis 'joy' as label 1 'joy', ignoring case; give each its own",
        ),
        (
            f"{HEAD}labels:\n- joy\n- {{name: anger, hypotheses: [{', '.join(f'h{n}' for n in range(1000))}]}}\n",
            "4: labels holds 1001 hypotheses; at most 1000 are allowed",
        ),
        (
            f"{HEAD}labels:\n- joy\n- {{name: anger, members: [anger]}}\n",
            "5: label 2 'anger' has members, but the file has no 'group:' to take them from",
        ),
    ],
)
def test_bad_files_are_refused_with_file_line_and_reason(text: str, message: str):
    assert refusal(text) == f"bad.yaml:{message}"


def test_what_cannot_be_grouped_is_named(tmp_path: Path):
    (tmp_path / "fine.yaml").write_text(FINE)
    (tmp_path / "short.yaml").write_text("name: short\nlabels: [joy]\n")
    (tmp_path / "absent.yaml").write_text(f"{HEAD}neutral: absence\n{THREE}")
    where = str(tmp_path / "bad.yaml")

    def grouping(name: str, labels: str) -> str:
        line = refusal(f"{HEAD}group: {name}\nlabels:\n{labels}", where)
        assert line.startswith(f"{where}:")
        return line[len(where) + 1 :]

    good = "- {name: good, members: [joy, love]}\n"
    rest = "- {name: rest, members: [fear, calm]}\n"
    assert grouping("none.yaml", good + rest) == (
        f"3: group: {tmp_path}/none.yaml: cannot be read: No such file or directory"
    )
    assert grouping("short.yaml", good + rest) == (
        f"3: group: {tmp_path}/short.yaml:2: labels holds one label; at least two are needed"
    )
    assert grouping("absent.yaml", good + rest) == (
        "3: group 'absent.yaml': has a label without hypotheses, which cannot be a member"
    )
    assert grouping("fine.yaml", good + "- {name: rest, members: [fear]}\n") == (
        "5: no label has the members calm; every label of the grouped taxonomy must be one"
    )
    assert grouping("fine.yaml", good + "- {name: rest, members: [fear, joy, calm]}\n") == (
        "6: label 2 'rest': 'joy' is no label of the grouped taxonomy, or is a member twice"
    )
    assert grouping("fine.yaml", good + "- {name: rest, members: [fear, dread, calm]}\n") == (
        "6: label 2 'rest': 'dread' is no label of the grouped taxonomy, or is a member twice"
    )
    assert grouping("fine.yaml", good + "- calm\n") == "6: label 2 has no members; write it as {name: …, members: […]}"
    assert grouping("fine.yaml", good + "- {name: rest, members: []}\n") == (
        "6: label 2 'rest': members is an empty list; at least one text is needed"
    )
    assert grouping("fine.yaml", good + "- {name: rest, hypothesis: calm}\n") == (
        "6: label 2 'rest' must have members and nothing else beside its name, as the file has 'group:'"
    )
    assert grouping("fine.yaml", good + "- {name: GOOD, members: [fear, calm]}\n") == (
        "6: label 2 'GOOD' has the same name as label 1 'good', ignoring case; remove or rename one"
    )

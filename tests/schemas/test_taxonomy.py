"""Taxonomy files: what is shipped, what is accepted, and the message for each kind of bad file."""

from __future__ import annotations

import re

import pytest

from lanser_ops.labelling.weak_labels import sentences
from schemas.taxonomy import (
    Label,
    Taxonomy,
    TaxonomyError,
    check_template,
    load_taxonomy,
    parse_taxonomy,
    shipped_taxonomies,
)

SHIPPED = {
    "cowen_keltner27": (
        27,
        "admiration, adoration, aesthetic appreciation, amusement, anger, anxiety, awe, awkwardness, "
        "boredom, calmness, confusion, craving, disgust, empathic pain, entrancement, excitement, fear, "
        "horror, interest, joy, nostalgia, relief, romance, sadness, satisfaction, sexual desire, surprise",
    ),
    "cremad6": (6, "anger, disgust, fear, happy, neutral, sad"),
    "ekman": (7, "anger, disgust, fear, joy, sadness, surprise, neutral"),
    "goemotions": (
        28,
        "admiration, amusement, anger, annoyance, approval, caring, confusion, curiosity, desire, "
        "disappointment, disapproval, disgust, embarrassment, excitement, fear, gratitude, grief, joy, love, "
        "nervousness, optimism, pride, realization, relief, remorse, sadness, surprise, neutral",
    ),
    "iemocap4": (4, "angry, happy, sad, neutral"),
    "plutchik": (8, "joy, trust, fear, surprise, sadness, disgust, anger, anticipation"),
    "ravdess8": (8, "neutral, calm, happy, sad, angry, fearful, disgust, surprised"),
}

EMOTIONS = "name: mine\nlabels:\n- joy\n- anger\n"
EXAMPLE = "put one {} where the emotion goes, as in 'This person feels {}.'"
NO_DIRECTORY = (
    "cannot be the name of a directory; use 1 to 64 of the characters A-Z a-z 0-9 . _ -, "
    "beginning with a letter or digit"
)
NO_YAML_MAGIC = (
    "YAML anchors (&), aliases (*) and tags (!) are not allowed; write the values out, "
    "and put text that begins with one of these signs in quotes"
)
ALIAS_BOMB = """\
name: lol
a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]
f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]
g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f]
labels: *g
"""
NAMES = "name, labels, template, source, version, aggregate, neutral, group"
KEYS = f"the keys are {NAMES}"


def quote(value: str, kind: str) -> str:
    return f'is {value}, which YAML reads as {kind}; put it in quotes: "{value}"'


def refusal(text: str | bytes) -> str:
    with pytest.raises(TaxonomyError) as caught:
        parse_taxonomy(text, "bad.yaml")
    return str(caught.value)


def test_the_shipped_taxonomies_are_these():
    assert shipped_taxonomies() == sorted(SHIPPED)


@pytest.mark.parametrize(("name", "count", "labels"), [(name, *rest) for name, rest in SHIPPED.items()])
def test_a_shipped_taxonomy_has_its_labels_in_order_and_a_source(name, count, labels):
    taxonomy = load_taxonomy(name)
    assert taxonomy.name == name
    assert len(taxonomy.labels) == count
    assert ", ".join(label.name for label in taxonomy.labels) == labels
    assert re.search(r"\(\d{4}\)\. .+ https://doi\.org/10\.\d{4,5}/\S+$", taxonomy.source)


def test_the_hypotheses_of_ekman_read_as_english():
    words = ("angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral")
    assert load_taxonomy("ekman").hypotheses == words


def test_a_file_may_mix_mappings_and_plain_strings_and_gives_every_field():
    text = (
        "name: mine-2.0\nlabels:\n- name: joy\n  hypothesis: happy\n- name: fear\n- anger\n"
        'template: "I feel {}."\nsource: >-\n  Someone\n  (2020)\n'
    )
    assert parse_taxonomy(text, "mine.yaml") == Taxonomy(
        name="mine-2.0",
        labels=(Label("joy", ("happy",)), Label("fear", ("fear",)), Label("anger", ("anger",))),
        template="I feel {}.",
        source="Someone (2020)",
    )


def test_template_and_source_may_be_left_out():
    taxonomy = parse_taxonomy(EMOTIONS, "mine.yaml")
    assert (taxonomy.template, taxonomy.source) == (None, "")


def test_spaces_hyphens_and_other_scripts_stay_and_are_normalised():
    text = "name: mine\nlabels: ['  sexual desire ', self-conscious, Cole\u0300re, 喜び, 'no']\n"
    names = [label.name for label in parse_taxonomy(text.encode("utf-8"), "mine.yaml").labels]
    assert names == ["sexual desire", "self-conscious", "Col\u00e8re", "喜び", "no"]


@pytest.mark.parametrize("text", ["\ufeff" + EMOTIONS, EMOTIONS.replace("\n", "\r\n")], ids=["bom", "crlf"])
def test_files_of_windows_editors_are_read(text):
    assert [label.name for label in parse_taxonomy(text.encode("utf-8"), "mine.yaml").labels] == [
        "joy",
        "anger",
    ]


def test_braces_in_a_hypothesis_are_not_placeholders():
    taxonomy = parse_taxonomy("name: mine\nlabels: ['{} {0} {x}', calm]\n", "mine.yaml")
    assert sentences(taxonomy, ["I feel {}!"]) == [["I feel {} {0} {x}!", "I feel calm!"]]


def test_a_path_is_read_and_a_shipped_name_wins_over_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ekman", "mine", "mine.yml"):
        (tmp_path / name).write_text(EMOTIONS, encoding="utf-8")
    assert load_taxonomy("mine").name == "mine"
    assert load_taxonomy("mine.yml").name == "mine"
    assert load_taxonomy(str(tmp_path / "mine")).name == "mine"
    assert load_taxonomy("./ekman").name == "mine"
    assert load_taxonomy("ekman").name == "ekman"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ekmann",
            "unknown taxonomy 'ekmann'; use one of cowen_keltner27, cremad6, ekman, goemotions, iemocap4, "
            "plutchik, ravdess8, or give the path of a YAML file; did you mean ekman?",
        ),
        ("none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("dir/none", "dir/none: cannot be read: No such file or directory"),
        ("a\0.yaml", "a\0.yaml: cannot be read: embedded null byte"),
        ("/dev/zero", "/dev/zero: is not a regular file; save the taxonomy as one"),
    ],
)
def test_what_cannot_be_loaded_is_named(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaxonomyError) as caught:
        load_taxonomy(name)
    assert str(caught.value) == message


def test_messages_name_the_file_as_it_was_given(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("name: one\nlabels: [joy]\n", encoding="utf-8")
    with pytest.raises(TaxonomyError) as caught:
        load_taxonomy(str(path))
    assert str(caught.value) == f"{path}:2: labels holds one label; at least two are needed"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "2: labels is empty; at least two are needed"),
        (" []", "2: labels holds no labels; at least two are needed"),
        (" [joy]", "2: labels holds one label; at least two are needed"),
        (" joy", "2: labels is text; it must be a list, one '- name' per line"),
        (" {joy: happy}", "2: labels is a mapping; it must be a list, one '- name' per line"),
        (
            "\n- joy\n- fear\n- Joy",
            "5: label 3 'Joy' has the same name as label 1 'joy', ignoring case; remove or rename one",
        ),
        (
            "\n- \u00e9t\u00e9\n- E\u0301TE\u0301",
            "4: label 2 '\u00c9T\u00c9' has the same name as label 1 '\u00e9t\u00e9', ignoring case; "
            "remove or rename one",
        ),
        (
            "\n- {name: joy, hypothesis: happy}\n- Happy",
            "4: label 2 'Happy' has the same hypothesis 'Happy' as label 1 'joy', ignoring case; give each its own",
        ),
        ("\n- yes\n- joy", "3: label 1 " + quote("yes", "a boolean")),
        ("\n- joy\n- no", "4: label 2 " + quote("no", "a boolean")),
        ("\n- joy\n- 4", "4: label 2 " + quote("4", "a number")),
        ("\n- joy\n- null", "4: label 2 " + quote("null", "null")),
        ("\n- joy\n- name: on", "4: label 2: name " + quote("on", "a boolean")),
        (
            "\n- joy\n- {name: ten, hypothesis: 1.5}",
            "4: label 2 'ten': hypothesis " + quote("1.5", "a number"),
        ),
        ("\n- joy\n- [fear]", "4: label 2 is a list; it must be text, in quotes if it begins with { or ["),
        ("\n- joy\n-", "4: label 2 is empty"),
        ("\n- joy\n- '  '", "4: label 2 is empty"),
        ("\n- joy\n- name: fear\n  hypothesis: ''", "5: label 2 'fear': hypothesis is empty"),
        ("\n- joy\n- hypothesis: sad", "4: label 2 has no name; write '- name: …'"),
        (
            "\n- joy: happy\n- fear",
            "3: label 1 has the unknown key 'joy'; the keys are name, hypothesis, hypotheses, members",
        ),
        ("\n- name: joy\n  name: fear\n- sad", "4: label 1 has the key 'name' twice; remove one"),
        (
            '\n- joy\n- "a\\nb"',
            "4: label 2 'a\\nb' has a line break or control character (U+000A); remove it",
        ),
        (
            '\n- joy\n- "\\ud800"',
            "4: label 2 '\\ud800' has a line break or control character (U+D800); remove it",
        ),
        (
            "\n- joy\n- " + "e\u0301" * 101,
            "4: label 2 '" + "e\u0301" * 29 + "e…' has 202 characters; at most 200 are allowed",
        ),
        ("\n- joy\n- " + "b" * 201, f"4: label 2 '{'b' * 59}…' has 201 characters; at most 200 are allowed"),
        ("".join(f"\n- e{i}" for i in range(1001)), "3: labels holds 1001 labels; at most 1000 are allowed"),
    ],
)
def test_bad_labels_are_refused_with_line_label_and_reason(labels, message):
    assert refusal(f"name: mine\nlabels:{labels}\n") == f"bad.yaml:{message}"


@pytest.mark.parametrize("name", ["../up", "..", ".", ".hidden", "a/b", "/etc", "a b", "-x", "é", "a" * 65])
def test_a_name_that_would_leave_the_output_directory_is_refused(name):
    shown = name if len(name) < 65 else "a" * 59 + "…"
    assert refusal(f"name: '{name}'\nlabels: [joy, anger]\n") == f"bad.yaml:1: name '{shown}' {NO_DIRECTORY}"


def test_a_name_of_64_characters_is_accepted():
    assert parse_taxonomy(f"name: {'a' * 64}\nlabels: [joy, anger]\n", "mine.yaml").name == "a" * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad.yaml: is empty; write at least 'name:' and 'labels:'"),
        ("# nothing\n", "bad.yaml: is empty; write at least 'name:' and 'labels:'"),
        (
            "- joy\n- anger\n",
            f"bad.yaml:1: the file is a list; it must be a mapping with the keys {NAMES}",
        ),
        ("labels: [joy, anger]\n", "bad.yaml: has no name; add a line such as 'name: my-taxonomy'"),
        ("name: mine\n", "bad.yaml: has no labels; list at least two under 'labels:'"),
        ("name: 2017\nlabels: [a, b]\n", "bad.yaml:1: name " + quote("2017", "a number")),
        (
            EMOTIONS + "lables: []\n",
            f"bad.yaml:5: the file has the unknown key 'lables'; {KEYS}; did you mean labels?",
        ),
        (
            EMOTIONS + "<<: {template: x}\n",
            f"bad.yaml:5: the file has the unknown key '<<'; {KEYS}",
        ),
        (
            EMOTIONS + "? [a]\n: b\n",
            f"bad.yaml:5: the file has a list for a key; {KEYS}",
        ),
        (EMOTIONS + "name: other\n", "bad.yaml:5: the file has the key 'name' twice; remove one"),
        (EMOTIONS + "source: 1992\n", "bad.yaml:5: source " + quote("1992", "a number")),
        (ALIAS_BOMB, f"bad.yaml:2: {NO_YAML_MAGIC}"),
        ("name: mine\nlabels: [joy, *b]\n", f"bad.yaml:2: {NO_YAML_MAGIC}"),
        ("name: mine\nlabels: !!python/object/apply:os.getcwd []\n", f"bad.yaml:2: {NO_YAML_MAGIC}"),
        ("name: mine\nlabels: " + "[" * 5000, "bad.yaml:2: the file is nested too deep"),
        (
            "name: mine\nlabels: [joy, anger\nsource: x\n",
            "bad.yaml:3: is not valid YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
        ),
        (
            "name: mine\nlabels: [joy, 'anger]\n",
            "bad.yaml:3: is not valid YAML: while scanning a quoted scalar, found unexpected end of stream",
        ),
        (
            EMOTIONS + "---\n" + EMOTIONS,
            "bad.yaml:5: is not valid YAML: expected a single document in the stream, but found another document",
        ),
        ('name: "\\UFFFFFFFF"\n', "bad.yaml:1: is not valid YAML: an escape is not a Unicode character"),
        (EMOTIONS + "- bell\a\n", "bad.yaml:5: has the control character U+0007; remove it"),
        (
            "name: mine\nlabels: [é, b]\n".encode("latin-1"),
            "bad.yaml: is not UTF-8 text (byte 20); save it as UTF-8",
        ),
        (EMOTIONS.encode("utf-16"), "bad.yaml: is not UTF-8 text (byte 0); save it as UTF-8"),
        ("#" * 1_000_001, "bad.yaml: is larger than 1,000,000 bytes, too large for a list of labels"),
        ("é" * 500_001, "bad.yaml: is larger than 1,000,000 bytes, too large for a list of labels"),
    ],
)
def test_bad_files_are_refused_with_file_line_and_reason(text, message):
    assert refusal(text) == message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("This person.", f"template 'This person.' has no {{}}; {EXAMPLE}"),
        ("{} is {}.", f"template '{{}} is {{}}.' has {{}} 2 times; {EXAMPLE}"),
        ("I feel {0}.", f"template 'I feel {{0}}.' has braces other than {{}}; {EXAMPLE}"),
        ("I feel {} {x}.", f"template 'I feel {{}} {{x}}.' has braces other than {{}}; {EXAMPLE}"),
        ("I feel {{}}.", f"template 'I feel {{{{}}}}.' has braces other than {{}}; {EXAMPLE}"),
        (" ", "template is empty"),
    ],
)
def test_a_bad_template_is_refused_in_a_file_and_by_itself(template, message):
    with pytest.raises(TaxonomyError) as caught:
        check_template(template)
    assert str(caught.value) == message
    assert refusal(EMOTIONS + f"template: '{template}'\n") == f"bad.yaml:5: {message}"


def test_a_template_keeps_its_words_and_names_where_it_came_from():
    assert check_template("  I feel {} . ") == "I feel {} ."
    with pytest.raises(TaxonomyError, match=r"^--template 'x' has no \{\}; "):
        check_template("x", "--template")

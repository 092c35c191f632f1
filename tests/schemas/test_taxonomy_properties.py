"""Any taxonomy is read as it was written; any other document is refused in one line that names the file."""

from __future__ import annotations

import unicodedata

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.strict_yaml import fold
from schemas.taxonomy import AGGREGATES, TaxonomyError, parse_taxonomy

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,20}", fullmatch=True)
WORDS = (
    st.text(st.characters(blacklist_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), min_size=1, max_size=20)
    .map(lambda text: unicodedata.normalize("NFC", text.strip()))
    .filter(lambda text: text and text == unicodedata.normalize("NFC", text.strip()))
)


@st.composite
def taxonomies(draw) -> dict:
    words = draw(st.lists(WORDS, min_size=2, max_size=8, unique_by=fold))
    names = draw(st.lists(WORDS, min_size=2, max_size=len(words), unique_by=fold))
    ends = sorted(draw(st.permutations(range(1, len(words))))[: len(names) - 1]) + [len(words)]
    starts = [0, *ends[:-1]]
    return {
        "name": draw(NAMES.filter(lambda name: yaml.safe_load(name) == name)),
        "version": 2,
        "aggregate": draw(st.sampled_from(AGGREGATES)),
        "template": draw(st.sampled_from(["I feel {}.", "{}", "Is it {}? Yes: so it is."])),
        "labels": [
            {"name": name, "hypotheses": words[start:end]} for name, start, end in zip(names, starts, ends, strict=True)
        ],
    }


@settings(derandomize=True, max_examples=60, deadline=None)
@given(taxonomies(), st.booleans(), st.booleans())
def test_a_taxonomy_is_read_as_it_was_written(content, allow_unicode, is_flow):
    text = yaml.safe_dump(content, allow_unicode=allow_unicode, default_flow_style=is_flow)
    # YAML writes text that only looks like a number in quotes, and text it cannot print with a tag of its own.
    taxonomy = parse_taxonomy(text, "t.yaml")
    labels = [{"name": label.name, "hypotheses": list(label.hypotheses)} for label in taxonomy.labels]
    assert (taxonomy.name, taxonomy.aggregate, taxonomy.template) == (
        content["name"], content["aggregate"], content["template"]
    )  # fmt: skip
    assert labels == content["labels"]
    assert taxonomy.hypotheses == tuple(word for label in content["labels"] for word in label["hypotheses"])
    assert [taxonomy.labels[index].hypotheses.count(word) for index, word in zip(
        taxonomy.label_of, taxonomy.hypotheses, strict=True
    )] == [1] * len(taxonomy.hypotheses)  # fmt: skip


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4), st.dates()
)
KEYS = st.sampled_from(["name", "labels", "template", "source", "version", "aggregate", "neutral", "group", "x"])
INNER = st.sampled_from(["name", "hypothesis", "hypotheses", "members", "x"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(INNER, inner, max_size=3)),
    max_leaves=8,
)


def read(document: str | bytes) -> None:
    """A taxonomy with two labels or more, or an error of one line that begins with the name of the file."""
    try:
        taxonomy = parse_taxonomy(document, "t.yaml")
    except TaxonomyError as error:
        line = str(error)
        assert line.startswith("t.yaml:") and len(line.splitlines()) == 1 and line.isprintable(), line
    else:
        assert len(taxonomy.labels) >= 2 and taxonomy.name


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_values_of_other_types_are_refused_in_one_line(content):
    read(yaml.safe_dump(content))


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60), st.text("{}[]&*!|>%@`\"'#:-?, \n\tab0", max_size=40)))
def test_what_is_no_document_is_refused_in_one_line(document):
    read(document)

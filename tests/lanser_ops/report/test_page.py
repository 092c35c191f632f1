"""report.html in a headless Chromium, opened from disk.

LANSER_REPORT_SAMPLES=6000 runs the tests of `corpus` on a page of as many samples; labelling them takes minutes.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice, product
from pathlib import Path

import pytest

from lanser_ops.report import survey

playwright = pytest.importorskip("playwright.sync_api")

EXAMPLES = Path(__file__).parents[3] / "examples"
SAMPLES = int(os.environ.get("LANSER_REPORT_SAMPLES", "240"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPENINGS = ("Well", "Listen", "You know", "Oh", "So", "Right", "Look", "Mother", "Sir", "Anna", "Okay", "Hey", "Hm")
SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
HOSTILE = {
    "script": SCRIPT,
    "end": "</blockquote></script><script>document.title = 'taken'</script> {{ 7 * 7 }} {% raw %} &lt;b&gt;",
    "quotes": "\" onmouseover=\"document.title = 'taken'\" ' `",
    "rtl": "\u202eأنا سعيد جدا اليوم\u202c and so am I",
    "emoji": "I am so happy 🎉👩‍👩‍👧‍👦🇬🇧 today",
    "long": "I was there and nobody came. " * 360,
}


@dataclass
class Visit:
    """A page, and what was asked for and complained about while it was open."""

    page: playwright.Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def shown(self, attribute: str) -> list[str]:
        """An attribute of the sample cards that are shown, in their order."""
        cards = self.page.locator(".samples .card:visible")
        return cards.evaluate_all("(cards, name) => cards.map((card) => card.dataset[name])", attribute)


def write_manifest(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "start_s", "end_s", "text"])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """SAMPLES utterances of real speech with written transcripts, labelled by two templates."""
    folder = tmp_path_factory.mktemp("corpus")
    with (EXAMPLES / "sentences.tsv").open() as stream:
        sentences = [row["text"] for row in csv.DictReader(stream, delimiter="\t")]
    clips = sorted(path for path in (EXAMPLES / "audio" / "slt").iterdir() if path.suffix in (".wav", ".flac"))
    texts = (f"{opening}, {sentence}" for opening, sentence in product(OPENINGS, sentences))
    rows = []
    for number, (clip, text) in enumerate(islice(zip(cycle(clips), cycle(texts), strict=False), SAMPLES)):
        start = number // len(clips) / 1000
        rows.append({"path": clip, "start_s": start, "end_s": start + 1.0, "text": text})
    rows.append({"path": EXAMPLES / "audio" / "broken" / "truncated.flac", "start_s": "", "end_s": "", "text": ""})
    write_manifest(folder / "rows.csv", rows)
    moods = folder / "moods.yaml"
    moods.write_text("name: moods\nlabels: [happy, sad, angry]\n")
    done = lanser(
        "build", "--input", folder / "rows.csv", "--output", folder / "out", "--taxonomy", moods, "--threads", "1",
        "--template", "This person feels {}.", "--template", "I am {}.", "--val-fraction", "0.2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """One sample for each text of HOSTILE in two taxonomies; their recordings have hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "audio").mkdir()
    rows = []
    for name, text in HOSTILE.items():
        recording = folder / "audio" / f"{name} <img src=x onerror=alert(1)> \"'.wav"
        shutil.copy(EXAMPLES / "audio" / "slt" / "best_day.wav", recording)
        rows.append({"path": recording, "start_s": "", "end_s": "", "text": text})
    write_manifest(folder / "rows.csv", rows)
    for name, labels in (("first", "[happy, sad]"), ("second", "[calm, angry]")):
        (folder / f"{name}.yaml").write_text(f"name: {name}\nlabels: {labels}\n")
        done = lanser(
            "build", "--input", folder / "rows.csv", "--output", folder / "out", "--taxonomy", folder / f"{name}.yaml",
            "--keep-flagged", "--threads", "1", "--num-shards", "2",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no {', '.join(BROWSERS)} on the PATH: the page is tested in one of them")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root with one
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: playwright.Browser):
    """Open the report of an output; at the end, nothing was asked for but the page, and nothing complained."""
    visits: list[Visit] = []

    def open_report(output: Path, **options: object) -> Visit:
        page = browser.new_page(**options)
        result = Visit(page)
        visits.append(result)
        page.on("request", lambda request: result.requests.append(request.url))
        page.on("console", lambda message: result.complaints.append(message.text))
        page.on("pageerror", lambda error: result.complaints.append(str(error)))
        page.goto((output / "report.html").as_uri())
        return result

    yield open_report
    for each in visits:
        places = {url for url in each.requests if not url.startswith("data:")}
        assert (len(places), each.complaints) == (1, [])
        assert places.pop().startswith("file://")
        each.page.close()


def test_the_file_is_small_and_says_what_it_holds(corpus: Path, visit):
    assert (corpus / "report.html").stat().st_size < 20e6
    page = visit(corpus).page
    assert page.locator("h1").inner_text() == "out"
    note = page.locator(".samples .note").inner_text()
    assert f" of {SAMPLES:,} samples: the most and the least certain of each label" in note
    assert "Audio is cut after 15 s and compressed; text after 2,000 characters." in note


def test_players_play_one_at_a_time(corpus: Path, visit):
    page = visit(corpus).page
    players = page.locator(".samples audio")
    assert players.count() == page.locator(".samples .card").count() > 0
    times = []
    for number in (0, players.count() - 1):
        player = players.nth(number)
        player.evaluate("(player) => player.play()")
        page.wait_for_function("(player) => player.currentTime > 0.1", arg=player.element_handle())
        times.append(player.evaluate("(player) => player.duration"))
    assert times == pytest.approx([1.0, 1.0], abs=0.15)  # MP3 pads to whole frames
    assert players.nth(0).evaluate("(player) => player.paused")
    truncated = page.locator("#rejects audio")
    truncated.evaluate("(player) => player.play()")
    page.wait_for_function("(player) => player.currentTime > 0.1", arg=truncated.element_handle())


def test_filter_sort_and_search_narrow_the_list(corpus: Path, visit):
    report = visit(corpus)
    page = report.page
    everything = report.shown("margin")
    assert everything == sorted(everything, key=float)
    for field_name in ("score", "margin", "duration"):
        page.locator("select[name=sort]").select_option(f"{field_name} -1")
        values = [float(value) for value in report.shown(field_name)]
        assert values == sorted(values, reverse=True) and len(values) == len(everything)
    label = page.locator("select[name=label] option").nth(1).inner_text()
    page.locator("select[name=label]").select_option(label)
    of_label = report.shown("label")
    assert set(of_label) == {label} and 0 < len(of_label) < len(everything)
    page.locator("select[name=kind]").select_option("most certain")
    certain = report.shown("kinds")
    assert 0 < len(certain) <= len(of_label) and all("most certain" in kinds.split("|") for kinds in certain)
    page.locator("select[name=label]").select_option("")
    page.locator("select[name=kind]").select_option("")
    words = page.locator(".samples .card:visible blockquote").first.inner_text()[:20]
    page.locator("input[name=search]").fill(words.upper())
    texts = page.locator(".samples .card:visible blockquote").all_text_contents()
    assert 0 < len(texts) < len(everything) and all(words in text for text in texts)
    assert page.locator("output").inner_text() == f"{len(texts)} of {len(everything)} shown"
    page.locator("input[name=search]").fill("nobody says this")
    assert page.locator(".samples .card:visible").count() == 0
    assert page.get_by_text("No sample matches.").is_visible()


def test_templates_that_disagree_are_shown_with_what_they_pick(corpus: Path, visit):
    page = visit(corpus).page
    page.locator("select[name=kind]").select_option("templates disagree")
    picks = page.locator(".samples .card:visible .picks").all_inner_texts()
    assert 0 < len(picks) == page.locator(".samples .card:visible").count()
    assert all(pick.startswith("templates pick ") and ", " in pick for pick in picks)


def test_keyboard_alone_reaches_the_search_and_a_player(corpus: Path, visit):
    page = visit(corpus).page
    reached: list[str] = []
    while "AUDIO" not in reached and len(reached) < 30:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.tagName"))
    assert [*dict.fromkeys(reached)] == ["A", "search", "label", "kind", "sort", "AUDIO"]
    page.keyboard.press("Space")
    page.wait_for_function("() => document.activeElement.currentTime > 0")


def test_hostile_texts_show_as_text(hostile: Path, visit):
    page = visit(hostile).page
    assert page.title() == "out: weak emotion labels"
    assert page.locator(".card img, .card script").count() == 0
    texts = page.locator("#labels-first-samples .card blockquote").evaluate_all(
        "(all) => all.map((each) => each.textContent)"
    )
    short = [text for name, text in HOSTILE.items() if name != "long"]
    assert set(short) < set(texts) and len(texts) == len(HOSTILE)
    (cut,) = set(texts) - set(short)
    assert cut == f"{HOSTILE['long'][:2000]}… (10,439 characters)"
    assert page.get_by_text("<img src=x onerror=alert(1)>").count() >= len(HOSTILE)


def test_warnings_are_on_top(hostile: Path, visit):
    page = visit(hostile).page
    first = page.locator("main section").first
    assert first.locator("h2").inner_text() == "What to worry about"
    names = first.locator(".concern").evaluate_all("(all) => all.map((each) => each.dataset.concern)")
    assert "val" in names
    assert "`" not in first.inner_text() and "--val-fraction" in first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(corpus: Path, hostile: Path, visit, scheme: str):
    for output in (corpus, hostile):
        page = visit(output, viewport={"width": 360, "height": 740}, color_scheme=scheme).page
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(251, 251, 249)", "dark": "rgb(21, 24, 27)"}[scheme]


def test_two_taxonomies_have_sections_and_a_flow(hostile: Path, visit):
    page = visit(hostile).page
    titles = page.locator("h2").all_inner_texts()
    for name in ("first", "second"):
        assert f"Labels: {name}" in titles and f"Samples: {name}" in titles
    assert page.locator("#flows h3").all_inner_texts() == ["first (rows) to second (columns)"]
    numbers = page.locator("#flows tbody td").all_inner_texts()
    assert sum(int(number) for number in numbers if number) == len(HOSTILE)


def test_a_part_of_the_shards_is_read_where_there_are_many(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanser, visit
):
    shutil.copytree(corpus, tmp_path / "out")
    monkeypatch.setattr(survey, "MAX_UNITS", 3)
    assert lanser("report", tmp_path / "out").returncode == 0
    page = visit(tmp_path / "out").page
    note = page.locator("#labels-moods .note").inner_text()
    assert note.startswith(f"{SAMPLES:,} samples") and " samples in 3 of 6 shards, a random part" in note
    assert page.locator(".samples audio").count() > 0


def test_without_the_recordings_there_is_no_audio_of_rejects(corpus: Path, tmp_path: Path, lanser, visit):
    shutil.copytree(corpus, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / ".private")  # which names the recordings' folder
    assert lanser("report", tmp_path / "out").returncode == 0
    page = visit(tmp_path / "out").page
    assert page.locator("#rejects audio").count() == 0
    assert page.locator("#rejects .silent").inner_text() == "no audio on this page"

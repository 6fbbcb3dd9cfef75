"""The talk: talk.yaml against the committed notebooks and results, the page that it makes, what a browser shows."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from invlib import paths
from invlib.series import tables
from invlib.series.slides import browser, command, page, parts, talk
from invlib.views import talk as views

TALK = yaml.safe_load((paths.NOTEBOOKS / "talk.yaml").read_text(encoding="utf-8"))
NOTES = {"notes": "said"}
# Runs in the page: each slide is shown, then what sticks out of it, is too small or did not load is written down.
WATCH = """<script>const failed = [];
addEventListener('securitypolicyviolation', e => failed.push(e.blockedURI));</script>"""
CHECK = """<script>
const check = async () => {
  const found = [];
  for (let k = 0; k < Reveal.getTotalSlides(); k++) {
    Reveal.slide(k); await new Promise(done => setTimeout(done, 30));
    const slide = Reveal.getCurrentSlide().querySelector('.slide'), frame = slide.getBoundingClientRect();
    const foot = slide.querySelector('.foot').getBoundingClientRect(), scale = frame.width / 1280;
    const say = (what, e) => found.push(`slide ${k + 1}: ${what}: ${(e.alt || e.textContent).trim().slice(0, 60)}`);
    if (Math.abs(frame.height / scale - 720) > 1) say('is not 720 high', slide);
    for (const e of slide.querySelectorAll('*')) {
      const box = e.getBoundingClientRect();
      const beyond = [frame.left - box.left, box.right - frame.right, box.bottom - frame.bottom];
      if (Math.max(...beyond) > 1) say('overflows', e);
      if (e.closest('.body') && !e.matches('.body') && box.bottom > foot.top + 1) say('overlaps the foot', e);
      if (e.matches('img') && !(e.complete && e.naturalWidth > 0 && e.alt)) say('a figure is missing', e);
      if (e.matches('pre') && e.scrollWidth > e.clientWidth + 1) say('code is cut', e);
      if (e.matches('td, th, li, p, pre') && !e.closest('.foot') && parseFloat(getComputedStyle(e).fontSize) < 18)
        say('type is small', e);
    }
  }
  const asked = performance.getEntriesByType('resource').map(r => r.name).filter(name => !name.startsWith('data:'));
  const report = {slides: Reveal.getTotalSlides(), found, asked, failed};
  document.body.innerHTML = ''; document.body.append('REPORT' + JSON.stringify(report) + 'END');
};
if (Reveal.isReady()) check(); else Reveal.on('ready', check);
</script>"""


@pytest.fixture(scope="module")
def built() -> str:
    return page.build_page()


def test_the_talk_is_written_in_the_decks_order():
    titles = " | ".join(slide["title"].lower() for slide in TALK)
    order = (
        "question", "rnn", "data", "ways", "attentionpooling", "measured", "training", "learns", "results", "top-k",
        "beam", "six headlines", "papers", "beyond the deck", "packed ids", "as it stands", "protects", "not known",
    )  # fmt: skip
    places = [titles.index(word) for word in order]
    assert places == sorted(places) and 20 <= len(TALK) <= 30


def test_nobody_types_a_number():
    """Titles, texts and notes have no digit outside of placeholders, formulas, code, links, and names of models."""
    allowed = re.compile(
        r"\$\$.*?\$\$|\$[^$]+\$|\{[^{}]*\}|```.*?```|`[^`]*`|\[[^\]]*\]\([^)]*\)|[\w-]+_\d+\w*|\b(ACL|EMNLP) \d{4}|"
        r"all-MiniLM-L6-v2|^\d\. ", re.DOTALL | re.MULTILINE,
    )  # fmt: skip
    for slide in TALK:
        for text in (
            slide["title"],
            slide["notes"],
            slide.get("foot", ""),
            *(p.get("text", "") for p in slide["parts"]),
        ):
            left = allowed.sub("", text)
            assert not re.search(r"\d", left), f"{slide['title']!r} has a number that no file gives: {left}"


def test_every_figure_of_the_talk_is_used_and_has_its_files():
    drawn = {part["drawing"] for slide in TALK for part in slide["parts"] if "drawing" in part}
    assert drawn == set(views.FIGURES)
    for name, figure in views.FIGURES.items():
        assert all((tables.published() / file).is_file() for file in figure.files), name
        assert "\n" not in figure.draw.__doc__.strip(), f"the alt text of {name} is its docstring, one line"


def test_the_page_needs_nothing_but_itself(built):
    """No element of it loads anything: sources are data, links alone lead elsewhere; the browser may load nothing."""

    class Collector(HTMLParser):
        links, loads, sections, notes = [], [], 0, 0

        def handle_starttag(self, tag, attributes):
            values = dict(attributes)
            self.sections += tag == "section"
            self.notes += tag == "aside"
            for name in ("src", "href", "srcset", "data", "poster", "action"):
                if values.get(name):
                    (self.links if (tag, name) == ("a", "href") else self.loads).append(values[name])

    collector = Collector()
    collector.feed(built)
    assert collector.sections == collector.notes == len(TALK)
    assert collector.loads and all(load.startswith("data:") for load in collector.loads)
    assert all(link.startswith("https://arxiv.org/") for link in collector.links)
    styles = "".join(re.findall(r"<style>(.*?)</style>", built, flags=re.DOTALL))
    assert "@import" not in styles and not re.search(r"url\((?!data:)", styles)
    assert "default-src 'none'" in built and str(paths.ROOT) not in built
    assert "{" not in re.sub(r"<(style|script).*?</\1>| alt=\"[^\"]*\"", "", built, flags=re.DOTALL)


def test_one_talk_one_file():
    """Nothing of time or chance is in a figure or a formula: the same files make the same talk."""
    folder = tables.published()
    assert views.svg("noise", folder) == views.svg("noise", folder)
    assert parts.formula("x_t", 20) == parts.formula.__wrapped__("x_t", 20)


@pytest.mark.parametrize("changed, said", [
    ({"parts": [{"cell": "99_none/x", "show": "code"}]}, "no notebook '99_none'; there are 00_data"),
    ({"parts": [{"cell": "02_attention_pooling/none", "show": "code"}]}, "no cell 'none'; it has 00-"),
    ({"parts": [{"cell": "02_attention_pooling/06-b70c0597", "show": "all"}]}, "show is one of text, code, output"),
    ({"parts": [{"cell": "02_attention_pooling/06-b70c0597", "show": "code", "first": "zz"}]}, "0 lines of the cell"),
    ({"parts": [{"picture": "none.png", "alt": "x"}]}, "there is no figures/none.png"),
    ({"parts": [{"drawing": "none"}]}, "no such figure; it has flow"),
    ({"parts": [{"table": "tables/none.csv"}]}, "has no tables/none.csv"),
    ({"parts": [{"table": "tables/05_search.csv", "rows": {"model": ["none"]}}]}, "no row with model ['none']"),
    ({"parts": [{"table": "tables/05_search.csv", "columns": [["none", "x"]]}]}, "no column 'none'; there are model"),
    ({"parts": [{"text": "{none:.2f}"}]}, "`figures` has no 'none'"),
    ({"parts": [{"text": r"$\none$"}]}, "can't set the formula"),
    ({"parts": [{}]}, "a part is one of text, cell, drawing, picture, table"),
    ({"figures": {"n": ["metrics.json", {"name": "none"}, "accuracy"]}}, "0 values of 'accuracy'"),
    ({"figures": {"n": ["tables/00_bits.csv", {}, "mean", "max"]}, "holds": "n < 0"}, "not support it: not n < 0"),
    ({"colour": "red"}, "unknown colour; a slide has"),
    ({"notes": ""}, "needs a title that says its message, and speaker notes"),
])  # fmt: skip
def test_errors_name_the_slide_and_what_is_missing(tmp_path, capsys, changed, said):
    slide = {"title": "The second", "parts": [{"text": "words"}], **NOTES} | changed
    file = tmp_path / "talk.yaml"
    file.write_text(yaml.safe_dump([{"title": "The first", "parts": [{"text": "words"}], **NOTES}, slide]))
    assert command.main(["--talk", str(file), "--output", str(tmp_path / "talk.html"), "--no-pdf"]) == 2
    error = capsys.readouterr().err
    assert "slide 2 ('The second')" in error and said in error, error
    assert not (tmp_path / "talk.html").exists()


def test_placeholders_are_filled_and_formulas_left_alone():
    slide = talk.Slide(1, "T", figures={"x": 0.125, "i": 3})
    assert slide.filled("{x:.1%} of {i}: $w_{i}$, $$\\frac{x}{i}$$") == "12.5% of 3: $w_{i}$, $$\\frac{x}{i}$$"
    shown = parts.markdown("a $w_i$ b\n\n$$\\sum_t x_t$$\n")
    assert shown.count("<img") == 2 and 'alt="w_i"' in shown and '<span class="formula">' in shown and "$" not in shown


def test_a_cells_output_and_its_text_are_shown():
    slide = talk.Slide(1, "T")
    text = parts.build_part(slide, {"cell": "00_data_exploration/04-1777b3c0", "show": "text"}, paths.RESULTS)
    drawn = {"cell": "00_data_exploration/05-2042feb9", "show": "output", "alt": "the flow"}
    figure = parts.build_part(slide, drawn, paths.RESULTS)
    assert "<h2" in text.html and "data:image/png" in figure.html and 'alt="the flow"' in figure.html
    assert figure.files == ("notebooks/00_data_exploration.ipynb",)


def test_without_a_browser_the_command_says_how_to_get_the_pdf(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser, "find_browser", lambda: None)
    file = tmp_path / "talk.yaml"
    file.write_text(yaml.safe_dump([{"title": "The first", "parts": [{"text": "words"}], **NOTES}]))
    assert command.main(["--talk", str(file), "--output", str(tmp_path / "talk.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("no PDF: ") and "?print-pdf" in lines[1]
    assert (tmp_path / "talk.html").is_file() and not (tmp_path / "talk.pdf").exists()


def looked_at(built: str, file: Path) -> dict:
    """What a browser without a network finds in the page."""
    file.write_text(built.replace("<title>", WATCH + "<title>", 1) + CHECK, encoding="utf-8")
    shown = browser.browse(file, "--dump-dom")
    return json.loads(html.unescape(re.search("REPORT({.*})END", shown)[1]))


needs_a_browser = pytest.mark.skipif(
    browser.find_browser() is None, reason="no Chromium-like browser is installed: the slides are not looked at"
)


@pytest.mark.slow
@needs_a_browser
def test_a_browser_shows_every_slide_whole(built, tmp_path):
    """With the network off: no missing figure, no overflow, no small type, no request; the PDF has a page a slide."""
    report = looked_at(built, tmp_path / "looked_at.html")
    assert report == {"slides": len(TALK), "found": [], "asked": [], "failed": []}

    file = tmp_path / "talk.html"
    file.write_text(built, encoding="utf-8")
    browser.print_pdf(file, tmp_path / "talk.pdf")
    pdf = (tmp_path / "talk.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) == len(TALK)
    assert len(pdf) > 1000 * len(TALK)  # an empty page has far fewer bytes


@pytest.mark.slow
@needs_a_browser
def test_the_browser_would_see_what_is_bad(tmp_path):
    lines = "\n".join(f"- line {k}" for k in range(30))
    bad = [
        {"title": "Too long", "parts": [{"text": lines}], **NOTES},
        {"title": "Asks the web", "parts": [{"text": '<img src="https://example.org/a.png" alt="far">'}], **NOTES},
        {"title": "Too small", "parts": [{"text": "<p style='font-size:12px'>tiny</p>"}], **NOTES},
    ]
    file = tmp_path / "talk.yaml"
    file.write_text(yaml.safe_dump(bad))
    report = looked_at(page.build_page(talk=file), tmp_path / "talk.html")
    found = " ".join(report["found"])
    assert "slide 1: overflows" in found and "slide 2: a figure is missing" in found
    assert "slide 3: type is small" in found and any("example.org" in address for address in report["failed"])

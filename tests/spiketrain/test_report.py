"""`spiketrain report`: one page that holds all it needs, opened in a browser where there is one."""

import re
import shutil
import socket
import subprocess
import threading
from html.parser import HTMLParser

import pytest
import trained_runs

from spiketrain.training import checkpoint

SMALL = {
    "preset": "bptt-digits", "about": "A <b>small</b> one & more", "data": {"name": "digits"}, "network": {"layers": "12-10", "time_steps": 2},
    "method": {"name": "bptt"},
}  # fmt: skip
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
EMPTY = {"meta", "link", "br", "path", "use", "image", "rect", "line", "circle", "img", "hr", "input"}


class Page(HTMLParser):
    """Which tags a page has, whether they are balanced, and its text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.words, self.ids = [], [], [], [], []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in EMPTY:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    first = trained_runs.train(SMALL, folder / "<first>", trainer={"epochs": 2})
    second = trained_runs.train(SMALL, folder / "second", seed=2, trainer={"epochs": 2}, data={"validation": 0.1}, optimizer={"lr": 0.02})
    return first, second


@pytest.fixture(scope="module")
def code_run(tmp_path_factory):
    deep = {"network": {"layers": "10", "model": "sew_resnet18", "width": 4, "depth": 1, "time_steps": 2}, "preset": "deep"}
    return trained_runs.train({**SMALL, **deep}, tmp_path_factory.mktemp("deep") / "run")


def made(cli, *words):
    status, lines, errors = cli("report", *words)
    assert status == 0, errors
    return lines


def read(path):
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


def test_one_run(runs, cli, tmp_path):
    lines = made(cli, runs[0])
    assert lines[-1] == f"wrote {runs[0] / 'report.html'}"
    html, page = read(runs[0] / "report.html")
    history = checkpoint.load(runs[0] / "last.ckpt")["history"]
    best = max(history, key=lambda row: row["test_accuracy"])
    for word in ("Summary", "Learning curves", "Configuration", "Firing rates, operations, energy", "Confusion matrix", "Environment",
                 f"{100 * best['test_accuracy']:.2f} %", "linear_1", "Horowitz, ISSCC 2014", "optimizer.lr", "network.layers", "12-10", "torch",
                 "right (", "predicted class", "samples/s", "MB", "A <b>small</b> one & more"):  # fmt: skip
        assert word in page.text, word
    assert "<b>small" not in html and "<first>" not in html.replace("&lt;first&gt;", ""), "what comes from a run is no markup"
    assert "script" not in page.tags and page.tags.count("svg") == 3


def test_runs_side_by_side_need_nothing_else(runs, code_run, cli, tmp_path):
    made(cli, *runs, code_run, "--out", tmp_path / "all.html")
    html, page = read(tmp_path / "all.html")
    assert {link for link in page.links if not link.startswith(("#", "data:"))} == set(), "a link leads out of the page"
    assert not re.search(r"url\((?!#|&quot;#)", html) and "@import" not in html
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names of namespaces alone"
    assert len(page.ids) == len(set(page.ids)), "names within drawings are those of one drawing"
    named = set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", html)) <= named
    assert "default-src 'none'" in html
    for word in ("second", "<first>", "run", "data.validation", "0.02", "validation samples", "stem"):
        assert word in page.text, word
    assert page.tags.count("svg") == 2 + 3  # curves, and a matrix of each


def test_equal_names_are_told_apart_by_their_folders(code_run, cli, tmp_path):
    shutil.copytree(code_run, tmp_path / "other" / "run")
    made(cli, code_run, tmp_path / "other" / "run", "--no-measure", "--out", tmp_path / "two.html")
    text = read(tmp_path / "two.html")[1].text
    assert "other/run" in text and f"{code_run.parent.name}/run" in text and "Confusion" not in text


def test_what_cannot_be_measured_is_said(runs, cli, tmp_path):
    """The data set is not there: the page has what the checkpoints say."""
    run = trained_runs.whose_data_is_not_there(runs[0], tmp_path / "run")
    made(cli, run, "--data.root", tmp_path / "nowhere")
    text = read(run / "report.html")[1].text
    assert "could not be measured" in text and "Learning curves" in text and "Confusion matrix" not in text


def test_surfaces(cli, tmp_path):
    run = trained_runs.train("convex-own-surfaces-1layer", tmp_path / "run", trainer={"epochs": 2, "limit_train": 50})
    made(cli, run)
    text = read(run / "report.html")[1].text
    assert "test rms error" in text and "Rms error" in text and "Confusion" not in text


@pytest.mark.parametrize("case, words", [
    ("twice", "given twice"), ("missing", "no run directory"), ("unwritable", "cannot write the page"), ("option", "has no effect"),
    ("figures", "cannot be compared"), ("nobody", "no run directory"), ("page of nobody", "cannot write the page"), ("loop", "no run directory"),
])  # fmt: skip
def test_errors_are_one_line(runs, tmp_path, cli, assert_error, case, words):
    given = {
        "twice": (runs[0], runs[0]), "missing": (tmp_path / "none",), "unwritable": (runs[0], "--no-measure", "--out", tmp_path / "no" / "a.html"),
        "option": (runs[0], "--optimizer.lr", "1"), "nobody": ("~nobody-of-this-name/run",), "loop": (tmp_path / "loop",),
        "page of nobody": (runs[0], "--no-measure", "--out", "~nobody-of-this-name/a.html"),
    }  # fmt: skip
    (tmp_path / "loop").symlink_to("loop")
    if case == "figures":
        given[case] = (runs[0], trained_runs.train("convex-own-surfaces-1layer", tmp_path / "run", trainer={"limit_train": 20}), "--no-measure")
    assert_error(words, "report", *given[case])


def test_names_that_are_no_text(cli, tmp_path, code_run):
    """A folder whose name has control characters, markup and bytes that are no text."""
    folder = tmp_path / "a\x1b[31m<script>alert(1)<\udcff"
    shutil.copytree(code_run, folder)
    made(cli, folder, code_run, "--out", tmp_path / "page.html")
    html, page = read(tmp_path / "page.html")
    assert "script" not in page.tags and "\x1b" not in html and "alert(1)" in page.text and "Confusion of a" in page.text


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
@pytest.mark.parametrize("width, height", [(1280, 2400), (390, 3000)], ids=["desktop", "phone"])
def test_in_a_browser(runs, code_run, cli, tmp_path, width, height):
    """It renders without an error on the console and without asking for anything: every address would be that of our own server."""
    made(cli, *runs, code_run, "--out", tmp_path / "page.html")
    asked = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(120)
        port = server.getsockname()[1]

        def listen():
            try:
                while True:
                    connection, _ = server.accept()
                    asked.append(connection.recv(4096))
                    connection.close()
            except OSError:
                return

        threading.Thread(target=listen, daemon=True).start()
        command = [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}", "--disable-background-networking", "--disable-component-update", "--no-first-run",
            f"--proxy-server=http://127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>",
            f"--window-size={width},{height}", f"--screenshot={tmp_path / 'page.png'}", (tmp_path / "page.html").as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (tmp_path / "page.png").exists(), done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "Content Security Policy" in line]
    assert not console, console
    own = [request for request in asked if b"google" not in request and b"gvt1" not in request]  # the browser's own errands
    assert not own, own
    import numpy as np
    from PIL import Image

    with Image.open(tmp_path / "page.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[:2] == (height, width)
    # Ink from the top to the bottom, and none beyond the width of the window, where a page too wide would be cut off.
    inked = (pixels < 200).any(2)
    assert inked[: height // 2].any(1).mean() > 0.3 and inked[-height // 4 :].any(), "the page is empty, or ends early"


# Measures a page in windows of some widths: how wide it is, and in how many of its tables of layers something is out of sight.
MEASURED = """<!DOCTYPE html><body><script>
for (const width of [390, 1280]) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.src = "page.html";
  frame.onload = () => {
    const page = frame.contentDocument;
    const hidden = [...page.querySelectorAll(".tables .scroll")].filter(one => one.scrollWidth > one.clientWidth).length;
    document.body.append(`[${width} ${page.documentElement.scrollWidth} ${hidden}]`);
  };
  document.body.append(frame);
}
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_browser_finds_room_for_it(runs, code_run, cli, tmp_path):
    made(cli, *runs, code_run, "--out", tmp_path / "page.html")
    (tmp_path / "measured.html").write_text(MEASURED)
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--allow-file-access-from-files",
        "--disable-background-networking", "--no-first-run", "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "measured.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = {int(width): (int(taken), int(hidden)) for width, taken, hidden in re.findall(r"\[(\d+) (\d+) (\d+)\]", done.stdout)}
    assert found.keys() == {390, 1280}, done.stderr[-2000:]
    assert all(taken <= width for width, (taken, _) in found.items()), "the page is wider than its window"
    assert found[1280][1] == 0, "tables of layers are cut off beside each other"

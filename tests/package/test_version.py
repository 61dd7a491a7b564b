"""One version everywhere: the package, what is installed, CITATION.cff and CHANGELOG.md."""

import datetime
import importlib.metadata
import re
from pathlib import Path

import pytest

import spikeops

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "spikeops" / "_version.py").read_text())[1]
# Of the Citation File Format 1.2.0: what has to be there, and what else may be.
REQUIRED = {"cff-version", "message", "title", "authors"}
ALLOWED = REQUIRED | {
    "abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license", "license-url", "preferred-citation",
    "references", "repository", "repository-artifact", "repository-code", "type", "url", "version",
}  # fmt: skip
PERSON = {"family-names", "given-names", "name-particle", "name-suffix", "alias", "affiliation", "orcid", "email", "website"}


@pytest.fixture(scope="module")
def citation():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def releases():
    """[(version or "Unreleased", date or "")] of the changelog, the newest first."""
    return re.findall(r"^## \[(.+?)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_changelog_has_the_version():
    unreleased, (version, date), *_ = releases()
    assert unreleased == ("Unreleased", ""), "changes to come have a place on top"
    assert version == VERSION, "spikeops/_version.py and the newest release of CHANGELOG.md differ"
    assert datetime.date.fromisoformat(date)


def test_what_is_installed_has_it():
    """The wheel's metadata, by which pip knows it."""
    installed = importlib.metadata.distribution("spikeops")
    if Path(installed.locate_file("spikeops/__init__.py")).resolve() != Path(spikeops.__file__).resolve():
        pytest.skip("spikeops is used in place, and another one is installed")
    assert installed.version == spikeops.__version__ == VERSION


def test_the_citation_is_of_this_version(citation):
    assert citation["version"] == VERSION
    assert (citation["version"], citation["date-released"]) in releases()


def test_the_citation_keeps_to_its_format(citation):
    assert REQUIRED <= citation.keys() <= ALLOWED
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text()
    for work in (citation, *citation["references"]):
        assert isinstance(work["title"], str)
        for author in work["authors"]:
            assert author.keys() == {"name"} or {"family-names"} <= author.keys() <= PERSON, author
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys(), reference["title"]
        assert type(reference["year"]) is int


def test_the_papers_cited_are_those_of_the_methods(citation):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    methods = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", readme.partition("## Methods")[2], re.MULTILINE))
    methods = {name for group in methods for name in re.findall(r"\w+", group)}
    cited = {word for reference in citation["references"] for word in re.findall(r"\w+", reference["notes"])}
    assert len(methods) >= 11 and methods <= cited
    for reference in citation["references"]:
        for link in (reference.get("url"), reference.get("doi")):
            assert link is None or link in readme, f"README has no {link}"

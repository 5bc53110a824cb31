"""Build hooks of the documentation: reports lie beside docs/ in the repository, and below it in the site."""

from pathlib import Path

from mkdocs.structure.files import File

REPORTS = Path(__file__).parent.parent / "reports"
SUFFIXES = {".md", ".png", ".csv", ".json"}


def on_files(files, config):
    """Add the committed reports to the site."""
    for path in sorted(REPORTS.rglob("*")):
        name = path.relative_to(REPORTS.parent).as_posix()
        if path.suffix in SUFFIXES and not name.startswith("reports/latest/"):
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links that are right in the repository, made right in the site."""
    return markdown.replace("](../reports/", "](reports/")

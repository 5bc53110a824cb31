"""Build hooks of the documentation: reports and results lie beside docs/ in the repository, below it in the site."""

from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
SUFFIXES = {"reports": {".md", ".png", ".csv", ".json"}, "results": {".md", ".csv"}}
IGNORED = ("reports/latest/", "reports/public/")


def on_files(files, config):
    """Add the committed reports and the public table to the site."""
    for folder, suffixes in SUFFIXES.items():
        for path in sorted((ROOT / folder).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in suffixes and not name.startswith(IGNORED):
                files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links that are right in the repository, made right in the site."""
    return markdown.replace("](../reports/", "](reports/").replace("](../results/", "](results/")

"""Submissions: a run that others may compare with theirs, in one file that says what it is and holds its own checksum.

Beside the raw records stands what the report of the run quotes from them, so that whoever reads the file, and whoever
checks it, can see that the two agree.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dipddpm.measure.escape import visible
from dipddpm.measure.file_schemas import Name, Text
from dipddpm.measure.files import inside, readable_json, write_text
from dipddpm.measure.record import MeasureError, Run
from dipddpm.measure.strict_json import strict_json

FORMAT = 1
PART = 40  # characters of each part of a file name
Version = Annotated[str, Meta(pattern=r"^\d{1,6}(\.\d{1,6}){0,3}[a-z0-9.+-]{0,40}$")]
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class SubmissionFile(msgspec.Struct, forbid_unknown_fields=True):
    """A submission, without its format; the run is checked by :meth:`Run.read`."""

    version: Version
    submitted: Date
    by: Annotated[str, Meta(max_length=100)]
    sha256: Sha256
    quoted: dict[Name, Any]
    run: dict[Name | Text, Any]


@dataclass(frozen=True)
class Submission:
    """A run, and what is said of it.

    Attributes:
        run: the raw records, with settings and machine.
        version: of the program that made and submitted it; submitted: the day, YYYY-MM-DD; by: whoever wants to be
            named.
        quoted: what the report says of the run: names and numbers that follow from the records.
    """

    run: Run
    version: str
    submitted: str
    by: str
    quoted: dict

    @property
    def content_hash(self) -> str:
        """A hash of what was measured; it does not depend on who submits it, or when."""
        return _sha256(self.run.content())

    @property
    def file_name(self) -> str:
        """Its name: machine, profile, data, version and content hash. Each part has only characters that are plain in
        file names on every system."""
        run = self.run
        device = str(run.machine.get("gpu") or run.machine.get("cpu") or "unknown")
        data = str(run.settings.get("data", "")).partition(",")[0]
        parts = [device, str(run.settings.get("profile", "")), data, self.version, self.content_hash[:10]]
        return "_".join(_plain(part) for part in parts) + ".json"

    def content(self) -> dict:
        """What the file holds, its checksum included."""
        held = {
            "format": FORMAT, "version": self.version, "submitted": self.submitted, "by": self.by,
            "quoted": self.quoted, "run": self.run.content(),
        }  # fmt: skip
        return {"format": FORMAT, "sha256": _sha256(held)} | held

    def save(self, folder: Path) -> Path:
        """Write it into a folder, a record per line, so that a diff can be read; its path.

        Raises:
            MeasureError: a file of that name is there. Nothing is ever overwritten.
        """
        path = inside(folder, self.file_name)
        if path.exists():
            raise MeasureError(f"{path}: is there already: this run was submitted before")
        write_text(path, readable_json(self.content(), open_to=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> Submission:
        """Read what :meth:`save` wrote.

        Raises:
            MeasureError: no such file, no submission, of another format, or changed since it was written.
        """
        try:
            text = strict_json(path.read_bytes())
            if isinstance(text, dict) and "records" in text:
                raise MeasureError(f"{path}: a run file and no submission: `dipddpm submit` makes one of it")
            if (found := text.pop("format")) != FORMAT:
                raise MeasureError(f"{path}: format {found!r:.20}, this version reads {FORMAT}")
            checked = msgspec.convert(text, SubmissionFile)
            claimed = text.pop("sha256")
            if _sha256({"format": FORMAT} | text) != claimed:
                raise MeasureError(f"{path}: its checksum is not that of its content: it was changed after it was made")
        except FileNotFoundError as error:
            raise MeasureError(f"{path}: no such submission") from error
        except OSError as error:
            raise MeasureError(f"{path}: cannot be read ({error.strerror}): name a submission") from error
        except MeasureError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MeasureError(f"{path}: not a submission of dipddpm ({visible(str(error)):.300})") from error
        run = Run.read(text["run"], path)
        return cls(run, checked.version, checked.submitted, checked.by, text["quoted"])


def is_submission(path: Path) -> bool:
    """Whether a file says of itself that it is a submission, rather than a run or anything else."""
    try:
        text = strict_json(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(text, dict) and {"sha256", "quoted"} <= set(text)


def _sha256(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(text: str) -> str:
    """Small letters, digits, dots and dashes, beginning and ending with a letter or digit; ``none`` of nothing."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:PART].strip("-.") or "none"

"""Paths as people type them, and as they are printed. Nothing here imports torch: the command line needs it."""

from __future__ import annotations

from pathlib import Path

from dipddpm.errors import InputError


def given_path(text: str | Path) -> Path:
    """The path that the user typed in an option or behind the colon of a name, ``~`` being a home folder.

    A shell expands ``~`` only where a word begins: neither in ``folder:~/photos`` nor, in bash, in ``--out=~/x``.
    ``./~`` is a folder of that name.

    Raises:
        InputError: ``~name`` of a user that there is not.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{shown(text)}: ~ stands for a home folder, and none is known; write ./{shown(text)} for a name with ~"
        ) from error


def shown(path: str | Path) -> str:
    """The path as text that any file and terminal takes, with forward slashes.

    File names are bytes, and those of old archives are often no UTF-8. Python keeps such a byte as half a surrogate
    pair, which cannot be encoded; here it is an escape: ``caf\\xe9.png``.
    """
    text = path.as_posix() if isinstance(path, Path) else path
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

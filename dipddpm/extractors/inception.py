"""inception-v3: the network that FID is defined by, and only with the weights that it is defined by."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from dipddpm.errors import InputError
from dipddpm.extractors.base import Extractor

# The TensorFlow weights of 2015-12-05, converted: 95,628,359 bytes, which pytorch-fid and torch-fidelity distribute
# alike. Their file names carry the first eight digits.
FID_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE_NAME = URL_INCEPTION_V3.rpartition("/")[2]
CACHED_NAMES = (FILE_NAME, "pt_inception-2015-12-05-6726825d.pth")  # torch-fidelity's and pytorch-fid's


class Inception(Extractor, FeatureExtractorInceptionV3):
    """torch-fidelity's Inception-v3 with 2048 features (pool3), its resize included.

    Weights come from the path given, else from torch's hub cache, else from the network (into that cache).
    torch-fidelity unpickles them without restriction, so they are hashed first, and what was hashed is unpickled.

    Args:
        sha256: the hash that the file must have. Another than the published one makes a test double: a distance under
            it is titled FD, never FID.

    Raises:
        InputError: no weights here and none to be had, or weights of another hash.
    """

    name = "inception-v3"
    width = 2048

    def __init__(
        self,
        name: str | None = None,
        features_list: list[str] | None = None,
        feature_extractor_weights_path: str | Path | None = None,
        sha256: str = FID_SHA256,
        **kwargs: Any,
    ):
        data = read_weights(feature_extractor_weights_path, sha256)
        FeatureExtractorInceptionV3.__init__(
            self,
            name or (self.name if sha256 == FID_SHA256 else f"{self.name}-{sha256[:8]}"),
            # A list of its own: forward takes a copy of it to cross off.
            list(features_list or ["2048"]),
            feature_extractor_weights_path=io.BytesIO(data),
            feature_extractor_internal_dtype=kwargs.get("feature_extractor_internal_dtype"),
        )
        self.fingerprint = sha256
        self.gives_fid = sha256 == FID_SHA256 and self.features_list == ["2048"]


def read_weights(path: str | Path | None, sha256: str) -> bytes:
    """The bytes of the weights file, which have this hash.

    Raises:
        InputError: the file is missing, unreadable or another, or there is no network to fetch it from.
    """
    file = Path(path) if path else cached() or _download(sha256)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"Inception weights {file}: cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise InputError(
            f"Inception weights {file}: sha256 is {digest[:16]}... of {len(data):,} bytes, must be {sha256[:16]}... "
            f"(get {URL_INCEPTION_V3}); an FID with other weights is no FID"
        )
    return data


def _folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def cached() -> Path | None:
    """The file of weights that is here already."""
    return next((f for f in (_folder() / name for name in CACHED_NAMES) if f.is_file()), None)


def _download(sha256: str) -> Path:
    target = _folder() / FILE_NAME
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(target), hash_prefix=sha256)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"Inception weights: not in {target.parent} and not to be downloaded ({error}); fetch {URL_INCEPTION_V3} "
            f"and name the file (--extractor inception-v3:PATH), or use the extractor embedded64"
        ) from error
    return target

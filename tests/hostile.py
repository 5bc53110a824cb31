"""Damage that files suffer and that people do to them, drawn from a generator of random numbers."""

import copy
import hashlib
import json
import struct
from random import Random

from dipddpm.checkpoints import SIGN

DEEP = "[" * 100_000
LONG = "1" * 5000
HOSTILE = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1.5, -0.5, 1e308, "", "x", "../../x", "\x1b[31m\n|`<b>",
    "é" * 400,    [], [None], [[[]]], {}, {"": None}, {"a": {"b": []}}, [1] * 1000, "NaN", "10000000", "1e400",
]  # fmt: skip
RAW = [DEEP, LONG, "1e400", "NaN", "-Infinity", '{"a": 1, "a": 2}', "", '"\\ud800"', "{" * 50_000]


def places(value, at=()):
    """The paths of all values inside ``value``."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*at, key))


def with_hostile_value(text: bytes, rng: Random) -> bytes:
    """A JSON text with one value replaced, dropped, renamed or added; a text that is JSON itself is entered."""
    whole = json.loads(text)
    at = rng.choice(list(places(whole)))
    if not at:
        return rng.choice(RAW).encode() if rng.random() < 0.5 else json.dumps(rng.choice(HOSTILE)).encode()
    parent = whole
    for key in at[:-1]:
        parent = parent[key]
    kind, old = rng.randrange(6), parent[at[-1]]
    if isinstance(old, str) and old.startswith(('{"', "[")) and rng.random() < 0.8:
        parent[at[-1]] = with_hostile_value(old.encode(), rng).decode("utf-8", "surrogatepass")
    elif kind == 0:
        del parent[at[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(["", "x", "__class__", "\n"])] = copy.deepcopy(old)
    elif kind == 2:
        parent[at[-1]] = "HOSTILE"
        return json.dumps(whole).replace('"HOSTILE"', rng.choice(RAW), 1).encode("utf-8", "surrogatepass")
    else:
        parent[at[-1]] = rng.choice(HOSTILE)
    return json.dumps(whole).encode()


def damaged(data: bytes, rng: Random) -> bytes:
    """Bytes with some of them flipped, cut off, doubled, removed or put in."""
    kind, made = rng.randrange(6), bytearray(data)
    at = rng.randrange(len(made)) if made else 0
    if kind == 0:
        return bytes(made[:at])
    if kind == 1:
        return bytes(made + made[at:])
    if kind == 2:
        return bytes(made[:at] + made[at + rng.randrange(1, 9) :])
    if kind == 3:
        return bytes(made[:at] + rng.randbytes(rng.randrange(1, 9)) + made[at:])
    near = min(len(made), 400) if rng.random() < 0.7 else len(made)  # most of what decides stands at the beginning
    for _ in range(rng.choice([1, 1, 2, 8])):
        if near:
            made[rng.randrange(near)] ^= 1 << rng.randrange(8)
    return bytes(made)


def hostile_tensors(data: bytes, rng: Random) -> bytes:
    """A safetensors file whose header says something else, of the right length."""
    (length,) = struct.unpack("<Q", data[:8])
    header = with_hostile_value(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def changed(name: str, data: bytes, rng: Random) -> bytes:
    """The content of a file of that name, after one accident or attack."""
    if name.endswith(".json") and rng.random() < 0.8:
        return with_hostile_value(data, rng)
    if name.endswith(".safetensors") and rng.random() < 0.6:
        return hostile_tensors(data, rng)
    if name.endswith(".state") and rng.random() < 0.8:  # with the checksum that it should have
        made = damaged(data.rpartition(SIGN)[0], rng)
        return made + SIGN + hashlib.sha256(made).hexdigest().encode()
    return damaged(data, rng)


def with_its_hash(record: bytes, data: bytes) -> bytes:
    """The record with the hash of ``data``: who writes a hostile file writes its hash as well."""
    return json.dumps(json.loads(record) | {"sha256": hashlib.sha256(data).hexdigest()}).encode()

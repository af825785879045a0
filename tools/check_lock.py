"""Check the lock files without a network: names, versions and hashes, nothing else, and as new as pyproject.toml asks.
That of the tool that checks the scripts of the page (npm) too.

python tools/check_lock.py [FOLDER]     exit code 1 and one line for each mistake
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

EVERYTHING, DEMO, SCRIPTS = "requirements-dev.lock", "requirements.lock", "package-lock.json"
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
SHA512 = re.compile(r"sha512-[A-Za-z0-9+/]{86}==")
HEAVY = re.compile(r"(torch|torchvision|triton|transformers|sentence-transformers|nvidia-.*)")
"""What nobody should fetch who asked for rowvec."""


def mistakes(folder: Path) -> Iterator[str]:
    """What is wrong with the lock files of a folder."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    pins: dict[str, dict[str, list[Requirement]]] = {}
    for file in (EVERYTHING, DEMO):
        pins[file] = {}
        for line in _logical_lines((folder / file).read_text(encoding="utf-8")):
            pinned = _pinned(line)
            if isinstance(pinned, str):
                yield f"{file}: {pinned}"
                continue
            name = str(canonicalize_name(pinned.name))
            pins[file].setdefault(name, []).append(pinned)
            if HEAVY.fullmatch(name):
                yield f"{file}: {name} is not to be fetched; override it in requirements.override"
    left_out = _left_out(folder)
    for where, wanted in _wanted(project):
        yield from (f"{EVERYTHING}: {each}" for each in _unmet(where, wanted, pins[EVERYTHING], left_out))
    for where, wanted in _wanted(project):
        if where == "dependencies":
            yield from (f"{DEMO}: {each}" for each in _unmet(where, wanted, pins[DEMO], left_out))
    for name, found in pins[DEMO].items():
        # Not the markers: they also say which platforms the extras of either file have.
        if {str(each.specifier) for each in found} != {str(each.specifier) for each in pins[EVERYTHING].get(name, ())}:
            yield f"{DEMO}: {name} is pinned otherwise in {EVERYTHING}"
    yield from (f"{SCRIPTS}: {each}" for each in _of_scripts(folder))


def _of_scripts(folder: Path) -> Iterator[str]:
    packages: dict[str, dict[str, Any]] = json.loads((folder / SCRIPTS).read_text(encoding="utf-8"))["packages"]
    declared = json.loads((folder / "package.json").read_text(encoding="utf-8")).get("devDependencies", {})
    if packages.pop("", {}).get("devDependencies", {}) != declared:
        yield "it is not that of package.json; `npm install --package-lock-only` writes it"
    for name, about in packages.items():
        if not SHA512.fullmatch(about.get("integrity", "")):
            yield f"{name} has no hash"
        if "resolved" in about:
            yield f"{name} has an address; .npmrc leaves it out"


def _logical_lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line


def _pinned(line: str) -> Requirement | str:
    """The pin of a line without its hashes, or what is wrong with it."""
    bare = HASH.sub("", line).strip()
    if not HASH.search(line):
        return f"{bare[:60]!r} has no hash"
    try:
        pinned = Requirement(bare)
    except InvalidRequirement:
        return f"{bare[:60]!r} is not a pinned package"
    if pinned.url:
        return f"{pinned.name} comes from an address"
    if [each.operator for each in pinned.specifier] != ["=="] or "*" in str(pinned.specifier):
        return f"{pinned.name} is not pinned to one version"
    return pinned


def _left_out(folder: Path) -> set[str]:
    """Packages that no platform needs."""
    lines = (folder / "requirements.override").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if "sys_platform == 'never'" in line}


def _wanted(project: dict[str, Any]) -> Iterator[tuple[str, Requirement]]:
    """(table of pyproject.toml, requirement) of every direct dependency."""
    tables: dict[str, list[Any]] = {"dependencies": project["project"]["dependencies"]}
    tables |= project["project"]["optional-dependencies"] | project["dependency-groups"]
    for where, listed in tables.items():
        yield from ((where, Requirement(each)) for each in listed if isinstance(each, str))


def _unmet(where: str, wanted: Requirement, pins: dict[str, list[Requirement]], left_out: set[str]) -> Iterator[str]:
    name = str(canonicalize_name(wanted.name))
    if name in left_out:
        return
    if name not in pins:
        yield f"{name} of {where} is not in it"
    for pinned in pins.get(name, ()):
        (version,) = (each.version for each in pinned.specifier)
        if not wanted.specifier.contains(version, prereleases=True):
            yield f"{name} {version} is not what {where} asks for: {wanted.specifier}"


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    found = list(mistakes(folder))
    for mistake in found:
        print(mistake)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

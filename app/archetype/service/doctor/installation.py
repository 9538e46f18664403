"""The versions of what is installed, against those that this release supports."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

import archetype
from archetype.service.doctor.findings import Finding, error, ok

__all__ = ["check_installation", "unsupported"]

_DISTRIBUTION = "archetype-log"


def check_installation() -> list[Finding]:
    """Name this release, and the libraries that are not in the versions it was made for."""
    seen = f"archetype-log {archetype.__version__} on Python {platform.python_version()}"
    try:
        needed = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:
        return [ok("versions", f"{seen}; it is not installed, so its libraries are not known")]
    found = unsupported(needed, version)
    if not found:
        return [ok("versions", seen)]
    remedy = f"pip install --upgrade {_DISTRIBUTION}, in an environment of its own"
    return [error("versions", f"{seen}, with {', '.join(found)}", remedy)]


def unsupported(needed: Sequence[str], version_of: Callable[[str], str]) -> list[str]:
    """Return what of some requirements is missing or in another version, each with what is needed.

    Those of extras are left out: they need not be there. `version_of` raises `PackageNotFoundError`.
    """
    found: list[str] = []
    for requirement in map(Requirement, needed):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            present = version_of(requirement.name)
        except PackageNotFoundError:
            found.append(f"no {requirement.name} ({requirement.specifier} is needed)")
            continue
        if not requirement.specifier.contains(present, prereleases=True):
            found.append(f"{requirement.name} {present} ({requirement.specifier} is needed)")
    return found

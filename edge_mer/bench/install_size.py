"""Megabytes on disk of edge_mer and everything it needs, by package: ``python -m edge_mer.bench.install_size``.

Counts the files that pip recorded, with the bytecode that it compiled or that has been written since, as they lie on
the disk (1 MB is 1,000,000 bytes). Extras are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

ROOT: Final = "edge-mer"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def needed(root: str = ROOT) -> dict[str, Distribution]:
    """Every installed package that ``root`` needs, itself included, by its normalised name."""
    found: dict[str, Distribution] = {}
    waiting = [root]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform or Python
        waiting += requirements(found[name].requires or ())
    return found


def requirements(lines: Iterable[str]) -> list[str]:
    """Names of the requirements that are no extras."""
    return [match[0] for line in lines if "extra ==" not in line and (match := _NAME.match(line)) is not None]


def bytes_of(package: Distribution) -> tuple[int, int]:
    """Bytes of its files, and of those the bytecode."""
    listed = {Path(str(package.locate_file(file))) for file in package.files or ()}
    sources = {path for path in listed if path.suffix == ".py"}
    compiled = {file for path in sources for file in path.parent.glob(f"__pycache__/{path.stem}.*.pyc")}
    sizes = {path: path.stat().st_size for path in listed | compiled if path.is_file()}
    return sum(sizes.values()), sum(size for path, size in sizes.items() if path.suffix == ".pyc")


def table(packages: dict[str, Distribution]) -> list[str]:
    """A line for each package from 1 MB on, the largest first, and the sum."""
    sizes = {name: bytes_of(package) for name, package in packages.items()}
    lines = [
        f"{total / 1e6:8.1f}  {code / 1e6:8.1f}  {name} {packages[name].version}"
        for name, (total, code) in sorted(sizes.items(), key=lambda item: -item[1][0])
        if total >= 1e6
    ]
    total, code = (sum(column) for column in zip(*sizes.values(), strict=True))
    return ["      MB  bytecode", *lines, f"{total / 1e6:8.1f}  {code / 1e6:8.1f}  all {len(sizes)} packages"]


def main() -> None:
    print("\n".join(table(needed())))


if __name__ == "__main__":
    main()

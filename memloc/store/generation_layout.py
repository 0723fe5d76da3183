"""The paths of manifests, indexes and the data files of generations. Their forms stand in layout.py."""

from __future__ import annotations

from memloc.store import layout


def manifest(generation: int, content: bytes) -> str:
    """What a compaction covered, by its number and its content."""
    return f"{layout.MANIFESTS}/{generation:06d}-{layout.sha8(content)}.json"


def index(generation: int, content_sha256: str) -> str:
    """The commits that a manifest covers, as columns."""
    return f"{layout.MANIFESTS}/{generation:06d}-{content_sha256[:8]}.parquet"


def generation_data(table: str, generation: int, content_sha256: str) -> str:
    """The rows of many parts. generation: the one that wrote the file; later ones may have it too."""
    return f"{layout.GENERATIONS}/{table}/{generation:06d}-{content_sha256[:8]}.parquet"


def generation_of(path: str) -> int:
    """The generation that wrote a manifest, an index or a data file of a generation."""
    return int(path.rpartition("/")[2].partition("-")[0])


def is_manifest(path: str) -> bool:
    """Is this path a manifest?"""
    return layout.is_own(path) and path.startswith(f"{layout.MANIFESTS}/") and path.endswith(".json")

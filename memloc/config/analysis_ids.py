"""The id of an analysis, and the version of its stage, which nothing but the id tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as text
from typing import Any

from memloc.config.identity import canonical_json, digest

VERSIONS = 100  # of a stage, at most: a commit does not say which it is of


@dataclass(frozen=True)
class Said:
    """What the parts of an analysis say of it. config: as canonical JSON. codes: the hashes of the user's files."""

    trial: str
    stage: str
    config: str
    reads: tuple[str, ...]
    codes: tuple[str, ...] = ()


def analysis_id(trial: str, stage: str, config: Any, reads: Iterable[str], version: int, codes: Iterable[str]) -> str:
    """The id of an analysis.

    Args:
        config: the stage's configuration, or its canonical form.
        reads: the analyses that it reads.
        version: of the stage.
        codes: hashes of the user's files.
    """
    return _id(Said(trial, stage, canonical_json(config), tuple(reads), tuple(codes)), version)


def codes_of(where: Mapping[str, Any]) -> tuple[str, ...]:
    """The hashes of the user's files, as the commits of an analysis name them in `where`."""
    plugins = where.get("plugins")
    return tuple(str(sha) for sha in plugins.values()) if isinstance(plugins, Mapping) else ()


def _id(said: Said, version: int) -> str:
    """The fingerprint of what is said and the version: its canonical JSON, with the configuration as it stands.

    It is put together of its pieces: a store of a hundred thousand commits has many analyses with one configuration, and
    whoever reads it makes all of their ids anew.
    """
    reads, stage, trial = f"[{','.join(map(text, said.reads))}]", text(said.stage), text(said.trial)
    of = f"[{','.join([str(version), *map(text, sorted(said.codes))])}]" if said.codes else str(version)
    return digest(f'{{"config":{said.config},"reads":{reads},"stage":{stage},"trial":{trial},"version":{of}}}')


def versions_of(analyses: Mapping[str, Said]) -> Iterator[int | None]:
    """The version of the stage of each analysis; None where its id is of none. Those of one stage are mostly of one."""
    likely: dict[str, int] = {}
    for analysis, said in analyses.items():
        likeliest = likely.get(said.stage, 1)
        version: int | None = likeliest
        if _id(said, likeliest) != analysis:
            version = next((v for v in range(1, VERSIONS) if _id(said, v) == analysis), None)
        if version is not None:
            likely[said.stage] = version
        yield version

"""The sweeps that come with memloc, and which file a name on the command line means."""

from __future__ import annotations

from pathlib import Path

from memloc.errors import UsageError, nearest
from memloc.sweep import yaml


def folder() -> Path:
    """Where the shipped sweeps are: in the installed package, or beside it in a clone."""
    package = Path(__file__).parent.parent
    return package / "sweeps" if (package / "sweeps").is_dir() else package.parent / "sweeps"


def shipped() -> dict[str, Path]:
    """{name: file} of the sweeps that come with memloc."""
    return {path.stem: path for path in sorted(folder().glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a sweep: an argument with a slash or .yaml is a file, else a shipped sweep."""
    if "/" in name or name.lower().endswith((".yaml", ".yml")):
        return Path(name)
    sweeps = shipped()
    if not name.strip():
        raise UsageError(f"{name!r}: is no sweep's name; shipped: {', '.join(sweeps)}; a file of your own: ./my.yaml")
    if name not in sweeps:
        if Path(name).is_file():
            raise UsageError(f"{name}: is a file whose name does not end in .yaml; name it {name}.yaml, or type ./{name}")
        valid = ", ".join(sweeps)
        raise UsageError(
            f"{name}: no such sweep{nearest(name, sweeps)}; shipped: {valid}; a file of your own: ./{name}.yaml"
        )
    return sweeps[name]


def about(path: Path) -> str:
    """What a sweep file says in `about`, for the list of shipped sweeps; empty if it says nothing."""
    value = yaml.read(path).value
    return str(value.get("about", "")).strip() if isinstance(value, dict) else ""

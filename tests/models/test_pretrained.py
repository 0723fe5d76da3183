"""Pretrained weights of timm's networks: taken over as timm does, identified by their content, never unpickled."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from memloc.config import canonical
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.weights_file import read_weights
from memloc.own_weights import carrying, hash_of
from tests.conftest import planned

SHAPE, CLASSES = (1, 32, 32), 7
NAME = "test_resnet"


def weights(seed: int = 0, classes: int = 11) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = timm.create_model(NAME, num_classes=classes).state_dict()
    return state


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(weights(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def config(**fields: Any) -> Any:
    return resolved(dataset="digits", model=f"timm:{NAME}", **fields)


def begun(settings: Any, seed: int) -> dict[str, torch.Tensor]:
    network = build(settings, SHAPE, CLASSES)
    network.initialise(seed)
    return network.state_dict()


def test_a_training_begins_with_them_as_timm_takes_them_over(file: Path) -> None:
    """One channel instead of three, and a classifier of its own, which the seed draws."""
    one, other = (begun(config(pretrained=True, weights=str(file)), seed) for seed in (1, 2))
    overlay = {"file": str(file)}
    theirs = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=CLASSES, in_chans=1)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(one[name], tensor) == (not name.startswith("fc.")), name
        assert torch.equal(one[name], other[name]) == (not name.startswith("fc.")), name
    assert torch.equal(one["layer1.0.conv1.weight"], weights()["layer1.0.conv1.weight"])
    assert not torch.equal(begun(config(), 1)["layer1.0.conv1.weight"], one["layer1.0.conv1.weight"])


def test_identity_is_the_content(tmp_path: Path, file: Path) -> None:
    text = "defaults: {{dataset: digits, model: 'timm:test_resnet'{}}}\nblocks: {{a: {{}}}}\n"
    more = ", pretrained: true, weights: {}"
    save_file(weights(), tmp_path / "copy.safetensors")
    save_file(weights(1), tmp_path / "other.safetensors")
    plain, one, same, other = (
        planned(tmp_path, text.format(fields)).trials[0]
        for fields in ("", *(more.format(f"{name}.safetensors") for name in ("weights", "copy", "other")))
    )
    assert len({plain.id, one.id, other.id}) == 3
    assert one.id == same.id
    assert one.config.architecture.flat()["weights"] == str(file.resolve())
    assert "pretrained" not in canonical(plain.config)
    # What a store says of it needs no file.
    file.unlink()
    again = resolved(**one.config.flat())
    assert build(again, SHAPE, CLASSES).groups == build(config(), SHAPE, CLASSES).groups


def test_timms_own_weights_come_from_its_cache(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    state = begun(config(pretrained=True), 1)
    assert asked[0] == ("timm/test_resnet.r160_in1k", "model.safetensors")
    assert torch.equal(state["layer1.0.conv1.weight"], weights()["layer1.0.conv1.weight"])

    def fails(repository: str, name: str) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(UsageError, match=r"^pretrained: true with model: timm:test_resnet: its weights .* are not on this"):
        config(pretrained=True)


def test_what_does_not_fit(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UsageError, match=r"^weights: used only with pretrained: true$"):
        config(weights=str(file))
    with pytest.raises(UsageError, match=r"^weights: .*none\.pth: cannot be read: No such file"):
        config(pretrained=True, weights=str(tmp_path / "none.pth"))
    save_file({"a": torch.zeros(2)}, tmp_path / "else.safetensors")
    misfits = config(pretrained=True, weights=str(tmp_path / "else.safetensors")).architecture.misfits(SHAPE, CLASSES)
    assert list(misfits) == ["weights"]
    assert misfits["weights"].endswith("else.safetensors: does not fit test_resnet: it has nothing for conv1.0.weight")
    save_file({**weights(), "layer1.0.conv1.weight": torch.zeros(1, 1)}, tmp_path / "shape.safetensors")
    misfits = config(pretrained=True, weights=str(tmp_path / "shape.safetensors")).architecture.misfits(SHAPE, CLASSES)
    assert "shape.safetensors: does not fit test_resnet: timm says: " in misfits["weights"]
    assert config(pretrained=True, weights=str(file)).architecture.misfits(SHAPE, CLASSES) == {}


# --- files of weights -------------------------------------------------------------------------------------------------


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_forms_of_files(tmp_path: Path, file: Path) -> None:
    state = weights()
    forms = {
        "plain.pth": state,
        "nested.pt": {"epoch": 3, "model": state, "loss": 0.5},
        "tutorial.pt": {"epoch": 0, "model_state_dict": state, "optimizer_state_dict": {}, "loss": torch.tensor(0.4)},
        "parallel.bin": {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        "compiled.pt": {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    }
    for name, form in forms.items():
        torch.save(form, tmp_path / name)
        assert equal(read_weights(str(tmp_path / name)), state), name
    of_that_name = {**state, "model": torch.zeros(2)}  # a parameter of the network
    torch.save({**of_that_name, "net": {"lr": 0.1}}, tmp_path / "named.pt")
    assert equal(read_weights(str(tmp_path / "named.pt")), of_that_name)
    assert equal(read_weights(str(file), hash_of(str(file))), state)
    with pytest.raises(UsageError, match="has changed since the sweep was planned"):
        read_weights(str(file), "0" * 64)
    files = [file, *(tmp_path / name for name in forms)]
    contents = {hash_of(str(one)): one.read_bytes() for one in files}
    hashes = [hash_of(str(one)) for one in files]
    for one in files:
        one.unlink()
    with carrying(contents.get):  # as on a machine that has none of these files
        for name, sha256 in zip(files, hashes, strict=True):
            assert equal(read_weights(str(name), sha256), state), name
        with pytest.raises(UsageError, match="cannot be read: No such file"):
            read_weights(str(file), "0" * 64)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_weights(str(file), hashes[0])


def test_a_training_begins_with_weights_that_were_carried_to_it(tmp_path: Path, file: Path) -> None:
    architecture = config(pretrained=True, weights=str(file)).architecture
    (sha256,) = architecture.files()
    assert architecture.files() == {sha256: str(file)}
    assert (config(weights=None).architecture.files(), sha256) == ({}, hash_of(str(file)))
    origin, content = pickle.loads(pickle.dumps(architecture)).origin(), file.read_bytes()
    torch.manual_seed(0)
    before = origin.initialised(SHAPE, CLASSES).state_dict()
    file.unlink()
    torch.manual_seed(0)
    with carrying({sha256: content}.get):
        assert equal(origin.initialised(SHAPE, CLASSES).state_dict(), before)


class Harm:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"state_dict": Harm()}))
    torch.save({"model": Harm()}, tmp_path / "worse.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"123")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    for name, problem in (
        ("bad.pth", "torch does not read it with weights_only=True"),
        ("worse.pth", "torch does not read it with weights_only=True"),
        ("cut.safetensors", "is no safetensors file"),
        ("empty.pth", "holds no state dict"),
        ("none.pth", "cannot be read: No such file"),
    ):
        with pytest.raises(UsageError, match=problem):
            read_weights(name)
    assert not (tmp_path / "harm").exists()

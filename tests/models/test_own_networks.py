"""Networks of a person's own (`python:FILE.py:FUNCTION`), against the modules themselves."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.dropouts import OwnDropouts
from memloc.models.gates import Open
from memloc.models.groups import Network
from memloc.models.kept import floats
from memloc.models.memory_format import channels_last
from memloc.models.traced.network import TracedNetwork
from tests.models import own_nets
from tests.models.plain import randomise
from tests.run.programs import python

FILE = Path(own_nets.__file__)
SHAPE, CLASSES = (1, 8, 8), 10
VIEWS = ("tutorial", "by_tuple", "by_name", "as_another")
RUN = ("make", "with_dropout", "sequential", "mlp", "held", "residual", "partly", "lazy", "in_place", *VIEWS)


def config(function: str, **more: Any) -> Any:
    return resolved(dataset="digits", model=f"python:{FILE}:{function}", **more)


def network(function: str, seed: int = 0, **more: Any) -> TracedNetwork:
    made = build(config(function, **more), SHAPE, CLASSES)
    assert isinstance(made, TracedNetwork)
    made.initialise(seed)
    return made


def images(count: int = 3) -> Tensor:
    return torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def pair(function: str) -> tuple[Network, nn.Module]:
    """(ours, the module itself), float64, evaluation mode, the same weights, by name."""
    ours = network(function).double()
    module: nn.Module = getattr(own_nets, function)(*SHAPE, CLASSES).double().eval()
    with torch.no_grad():
        module(images())  # gives lazy layers their shapes
    randomise(ours, 3)
    module.load_state_dict(ours.state_dict())
    return ours.eval(), module


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("function", RUN)
def test_the_same_function_gradients_and_statistics(function: str) -> None:
    ours, module = pair(function)
    close(ours(images()), module(images()))
    for m in module.modules():
        m.train(not isinstance(m, nn.Dropout))
    for each in (ours.train(), module):
        F.cross_entropy(each(images()), torch.tensor([1, 3, 5])).backward()
    theirs = dict(module.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == list(theirs)
    for name, p in ours.named_parameters():
        assert p.grad is not None, name
        close(p.grad, theirs[name].grad)  # type: ignore[arg-type]
    for name, b in module.named_buffers():
        close(ours.state_dict()[name].double(), b.double())


GROUPS = {
    "make": ("conv1", "conv2", "fc1", "fc2"),  # the norm with its convolution
    "sequential": ("0", "4", "8"),
    "mlp": ("1", "4", "6"),
    "held": ("network.0", "network.4", "network.8"),  # one child: its children count
    "residual": ("convs.0", "convs.1+convs.2", "head"),  # the list is opened; what runs twice cannot be cut
    "partly": ("part", "conv", "head"),
    "whole": ("1",),  # it is one operation, so it is not opened
    "zipped": ("layers_of.0", "layers_of.1", "layers_of.2", "head"),  # each norm of the other list with its layer
    "zipped_linear": ("1.layers_of.0", "1.layers_of.1", "1.layers_of.2", "1.head"),
}


@pytest.mark.parametrize("function", GROUPS)
def test_groups_by_children(function: str) -> None:
    made = network(function)
    assert made.groups == GROUPS[function]
    owned = [name for group in made.groups for name in made.parameters_of(group)]
    assert sorted(owned) == sorted(name for name, _ in made.named_parameters())
    state: tuple[Any, ...] = (images().float(),)
    whole = made.eval()(*state)
    for group in made.groups:
        assert torch.equal(made.run_from(group, state), whole)
        state = made.run_group(group, state)


def test_what_was_done_is_said() -> None:
    assert network("residual").opened.notes == (
        "convs is opened: a ModuleList",
        "norm belongs to convs.2: it is a norm",
        "convs.1, convs.2 are one group: they do not run one after the other, or share parameters",
    )
    (note,) = (note for note in network("partly").opened.notes if "operation" in note)
    assert note.startswith("Undecided is one operation, without neurons inside: it cannot be traced: ")
    assert note.endswith("(own_nets.py:100: if y.sum() > 1e9:)")


@pytest.mark.parametrize("function", RUN)
def test_the_gradients_of_open_gates(function: str) -> None:
    """A search never computes the products with gates that are 1; their gradients are those of computed products."""
    ours, _ = pair(function)
    ones = {layer: torch.ones(3, *shape, dtype=torch.float64) for layer, shape in ours.neurons.items()}
    found = []
    for is_open in (False, True):
        leaves = {layer: gate.clone().requires_grad_() for layer, gate in ones.items()}
        logits = ours(images(), gates={layer: Open(gate) for layer, gate in leaves.items()} if is_open else leaves)
        found.append(torch.autograd.grad(logits.logsumexp(dim=1).sum(), list(leaves.values())))
    for computed, of_open in zip(*found, strict=True):
        close(of_open, computed)
        assert computed.any()


def test_functions_that_change_what_they_are_given() -> None:
    """A hidden unit is behind its activation, as with the functions that return something new."""
    made = network("in_place")
    assert made.neurons == {"conv1": (6,), "conv2": (8,), "fc1": (12,), "fc2": (10, 12)}
    gate = torch.ones(3, 12)
    gate[1, 4] = 0.0
    hidden: list[Tensor] = []
    handle = made.fc2.register_forward_hook(lambda _, given, __: hidden.append(given[0]))  # type: ignore[union-attr]
    made.eval()(images().float(), gates={"fc1": gate})
    handle.remove()
    assert (hidden[0] == 0).nonzero().tolist() == [[1, 4]]


@pytest.mark.parametrize("function", [*VIEWS, "of_a_type"])
def test_views_of_images_that_lie_channels_last(function: str) -> None:
    """As the module itself has them, whose images lie as PyTorch has them by default."""
    ours, module = network(function).eval(), getattr(own_nets, function)(*SHAPE, CLASSES).eval()
    module.load_state_dict(ours.state_dict())
    x = images().float()
    wanted = module(x)
    found = channels_last(ours)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, wanted)
    if function != "of_a_type":  # bits have no gradient
        theirs = torch.autograd.grad(wanted.logsumexp(dim=1).sum(), list(module.parameters()))
        torch.testing.assert_close(torch.autograd.grad(found.logsumexp(dim=1).sum(), list(ours.parameters())), theirs)


def test_groups_and_sites_by_pattern() -> None:
    groups = {"early": r"conv\d.*|bn1", "hidden": "fc1", "last": r"fc2\..*"}
    made = network("make", groups=groups, sites="conv2|drop")
    assert made.groups == ("early", "hidden", "last")
    assert made.parameters_of("early") == [n for n, _ in made.named_parameters() if not n.startswith("fc")]
    assert made.sites == {"conv2": (8, 4, 4), "drop": (12, 1, 1)}
    x, factor = images(2).float(), torch.tensor([1.0, 0.0]).repeat(4)[None, :, None, None]
    plain: Any = own_nets.make(*SHAPE, CLASSES)
    plain.load_state_dict(made.state_dict())
    handle = plain.conv2.register_forward_hook(lambda _, __, out: out * factor)
    torch.testing.assert_close(made.eval()(x, masks={"conv2": factor}), plain.eval()(x))
    handle.remove()
    # The same groups in another order are the same training.
    swapped = config("make", groups=dict(reversed(groups.items())), sites="conv2|drop")
    assert swapped == config("make", groups=groups, sites="conv2|drop")


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({"groups": {"a": "conv.*"}}, "groups", "the parameter bn1.weight is in none of a; each is in one group"),
        ({"groups": {"a": ".*", "b": "fc2"}}, "groups", "the parameter fc2.weight is in both a and b; each is in one group"),
        (
            {"groups": {"a": ".*", "b": "fc3"}},
            "groups",
            "b: 'fc3' matches no parameter; modules with some: conv1, bn1, conv2,",
        ),
        (
            {"groups": {"a": "conv1|fc.*", "b": "bn1|conv2"}},
            "groups",
            "a is used again after b has begun; put them into one group",
        ),
        ({"sites": "conv3"}, "sites", "'conv3' matches no module; there are: conv1, bn1, conv2, drop, fc1, fc2"),
    ],
)
def test_patterns_that_do_not_fit(fields: dict[str, Any], field: str, problem: str) -> None:
    misfits = config("make", **fields).architecture.misfits(SHAPE, CLASSES)
    assert list(misfits) == [field]
    assert misfits[field].startswith(problem)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("groups", {"a": "("}, r"groups: \{a: '\('\} is not valid: '\(' is no regular expression: missing \)"),
        ("groups", {"a b": "x"}, "'a b' is no group's name"),
        ("groups", {}, "valid: {group: 'pattern', …}"),
        ("groups", {"a": 3}, "valid: {group: 'pattern', …}, each a text"),
        ("sites", "[", r"sites: '\[' is not valid: '\[' is no regular expression"),
    ],
)
def test_patterns_that_are_none(field: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config("make", **{field: value})


# --- neurons, by hooks on the module itself -----------------------------------------------------------------------------


def test_neurons_are_channels_hidden_units_and_the_classifiers_weights() -> None:
    assert network("make").neurons == {"conv1": (6,), "conv2": (8,), "fc1": (12,), "fc2": (10, 12)}
    assert network("mlp").neurons == {"1": (12,), "4": (8,), "6": (10, 8)}
    assert network("residual").neurons == {"convs.0": (6,), "convs.1": (6,), "convs.2": (6,), "head": (10, 6)}
    assert network("partly").neurons == {"conv": (8,), "head": (10, 8)}  # none in what is one operation


def test_what_halves_or_attends_is_no_activation() -> None:
    """Both are in torch's module of activations. The layer before them has no hidden units."""
    assert network("gated_units").neurons == {"3": (10, 8)}
    assert network("attending").neurons == {"head": (10, 8)}
    close(*(each(images()) for each in pair("gated_units")))


def test_closing_a_channel_before_patches_by_strides_is_what_a_hook_does() -> None:
    """The module itself has images that lie as PyTorch has them by default; ours lie channels last."""
    ours, module = network("strided").eval(), own_nets.strided(*SHAPE, CLASSES).eval()
    module.load_state_dict(ours.state_dict())
    assert ours.neurons == {"conv": (6,), "fc1": (12,), "fc2": (10, 12)}
    x = images(6).float()
    gates = {"conv": 1 - torch.eye(6), "fc1": 1 - torch.eye(6, 12)}  # each image has another channel and unit closed
    handles = [
        module.conv.register_forward_hook(lambda _, __, out: out * gates["conv"][:, :, None, None]),  # type: ignore[union-attr]
        module.fc2.register_forward_pre_hook(lambda _, given: (given[0] * gates["fc1"],)),  # type: ignore[union-attr]
    ]
    wanted = module(x)
    for handle in handles:
        handle.remove()
    assert not torch.allclose(wanted, module(x))
    found = channels_last(ours)(x.contiguous(memory_format=torch.channels_last), gates=gates)
    torch.testing.assert_close(found, wanted)
    theirs = torch.autograd.grad(module(x).logsumexp(dim=1).sum(), list(module.parameters()))
    torch.testing.assert_close(torch.autograd.grad(ours(x).logsumexp(dim=1).sum(), list(ours.parameters())), theirs)


def test_closing_a_neuron_is_what_a_hook_does() -> None:
    ours, module = pair("make")
    gate = torch.ones(1, 12, dtype=torch.float64)
    gate[0, 5] = 0

    class Closed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * gate

    assert isinstance(module, own_nets.Plain)
    module.drop = Closed()  # type: ignore[assignment]  # what follows fc1 and its activation
    close(ours(images(), gates={"fc1": gate}), module(images()))
    weights = torch.ones(1, CLASSES, 12, dtype=torch.float64)
    weights[0, 2, 7] = 0
    ours, module = pair("make")
    assert isinstance(module, own_nets.Plain)
    with torch.no_grad():
        module.fc2.weight[2, 7] = 0
    close(ours(images(), gates={"fc2": weights}), module(images()))


# --- the network's own dropout, and its beginning -------------------------------------------------------------------------


def test_own_dropout_is_drawn_by_key() -> None:
    made = network("with_dropout").train()
    assert made.stochastic() == {"dropout drop": ((12,), 0.25)}
    own = OwnDropouts(made, seed=4, device=torch.device("cpu"))
    factors = floats(own.training(3, epoch=1, step=0))
    assert factors is not None
    x = images().float()
    drawn = made(x, masks=factors)
    torch.manual_seed(77)
    assert torch.equal(drawn, made(x, masks=own.training(3, epoch=1, step=0)))
    assert not torch.equal(drawn, made(x, masks=own.training(3, epoch=1, step=1)))
    plain: Any = own_nets.make(*SHAPE, CLASSES)  # the same without a dropout
    plain.load_state_dict(made.state_dict())
    handle = plain.drop.register_forward_hook(lambda _, __, out: out * factors["dropout drop"])
    torch.testing.assert_close(drawn, plain.train()(x))
    handle.remove()


def test_initialisation_is_the_modules_own_from_a_keyed_stream() -> None:
    one, again, other = (network("make", seed=s).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    before = torch.get_rng_state()
    network("make")
    assert torch.equal(torch.get_rng_state(), before)


# --- identity ---------------------------------------------------------------------------------------------------------


def test_identity_is_the_content_and_not_the_path(tmp_path: Path) -> None:
    copy, changed = tmp_path / "copy.py", tmp_path / "changed.py"
    copy.write_text(FILE.read_text())
    changed.write_text(FILE.read_text() + "\n# a comment\n")
    here, there, other = (
        resolved(dataset="digits", model=f"python:{path}:make").architecture for path in (FILE, copy, changed)
    )
    assert here.flat()["code"] == there.flat()["code"] != other.flat()["code"]
    assert here.identity() == there.identity() == {"model": "python:make"}
    assert config("mlp").architecture.identity() != here.identity()


def test_the_text_travels(tmp_path: Path) -> None:
    """Another process runs the network without the file."""
    file = tmp_path / "gone.py"
    file.write_text(FILE.read_text())
    before = resolved(dataset="digits", model=f"python:{file}:make")
    wanted = build(before, SHAPE, CLASSES)
    wanted.initialise(5)
    (tmp_path / "config").write_bytes(pickle.dumps(before))
    file.unlink()
    program = (
        "import pickle, sys, torch\n"
        "from memloc.models.build import build\n"
        f"made = build(pickle.load(open({str(tmp_path / 'config')!r}, 'rb')), {SHAPE}, {CLASSES})\n"
        "made.initialise(5)\n"
        f"torch.save(made.state_dict(), {str(tmp_path / 'state')!r})\n"
    )
    done = python(os.environ, "-c", program)
    assert done.code == 0, done.err
    state = torch.load(tmp_path / "state", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in wanted.state_dict().items())


def test_a_configuration_from_a_store_needs_the_file(tmp_path: Path) -> None:
    """Nothing in a store is code, and what a store says makes nobody run a file."""
    before = config("make")
    after = resolved(**before.flat())
    assert after.flat() == before.flat()
    with pytest.raises(UsageError, match=r"a store holds no code; name the file: trial\.with_source"):
        build(after, SHAPE, CLASSES)
    with_file = after.architecture.with_source(str(FILE))
    assert build(after.model_copy(update={"architecture": with_file}), SHAPE, CLASSES).groups == GROUPS["make"]
    other = tmp_path / "other.py"
    other.write_text("def make(*size): ...\n")
    with pytest.raises(UsageError, match="is not the file that made this network"):
        after.architecture.with_source(str(other))


# --- errors, a line each -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("mak", "no function mak (did you mean 'make'?); it has Plain, make,"),
        ("NUMBER", "NUMBER is a int; valid: a function"),
        ("raises", "raises(1, 8, 8, 10) raises ZeroDivisionError: integer division or modulo by zero (own_nets.py:155: "),
        ("leaves", "leaves(1, 8, 8, 10) raises SystemExit: 3 (own_nets.py:"),
        ("leaving", "its forward pass fails: SystemExit: 3 (own_nets.py:"),
        ("no_module", "no_module returns a str; valid: an nn.Module"),
        ("fails", "its forward pass fails: RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ("wrong_shape", "for 2 images it gives float32 of shape [2, 3]; valid: logits, floats of shape [2, 10]"),
        ("root", "its forward pass cannot be traced: TraceError: symbolically traced variables cannot be used as inputs"),
        ("draws", "in training two passes over the same images differ: it draws at random (nn.Dropout is what memloc can"),
        ("spectral", "or each pass changes it, as with nn.utils.spectral_norm"),
        ("all_dropped", "the dropout 3 drops everything; valid: a rate below 1"),
        ("derived_dropout", "it draws at random (nn.Dropout is what memloc can draw by key)"),
        ("cosine", "3 (Cosine) multiplies by other numbers than its weights; derive it from nn.Module"),
        ("noted", "1._extra_state of its state is no tensor; memloc keeps tensors alone"),
        ("pruned", "1.weight is computed from parameters before a forward pass, as by the old nn.utils.weight_norm and by"),
        ("twice", "1 and 3 are the same; give it one name, and use it twice in `forward`"),
        ("closed", "the dropout part.conv.1 would not act: part (Undecided) is one operation, and memloc draws what is"),
        ("all_frozen", "nothing of it can be trained: requires_grad is false for every parameter"),
        ("no_parameters", "nothing of it can be trained: it has no parameters"),
        ("named", "memloc's networks have something of their own under the name outputs; rename it"),
        ("spare", "unused.weight is not used"),
        (
            "strided_as_usual",
            "it depends on how images lie in memory, as `as_strided` does, and memloc lays them out channels",
        ),
        (
            "view_inside",
            "memloc lays images out channels last, so `view` fails where dimensions are joined; take `reshape` or `flatten`",
        ),
        ("changed_in_place", "cut into groups it does not compute the same"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(function: str, problem: str) -> None:
    misfits = config(function).architecture.misfits(SHAPE, CLASSES)
    assert list(misfits) == ["model"]
    assert problem in misfits["model"]
    assert "\n" not in misfits["model"]


def test_a_dropout_of_rate_0_may_be_anywhere() -> None:
    assert network("closed_without_rate").groups == ("part", "head")


def test_a_parameter_of_two_names_is_in_one_group() -> None:
    assert network("shared").groups == ("first", "one+two", "head")
    apart = config("shared", groups={"a": "first|one", "b": "two|head"}).architecture.misfits(SHAPE, CLASSES)
    assert apart == {
        "model": f"python:{FILE}:shared: one.weight is used by both a and b (as two.weight); put them into one group"
    }
    assert network("shared", groups={"a": "first|one|two", "b": "head"}).groups == ("a", "b")


def test_the_operation_that_cannot_be_traced_is_named() -> None:
    assert config("root").architecture.misfits(SHAPE, CLASSES)["model"].endswith("(own_nets.py:141: if y.sum() > 1e9:)")

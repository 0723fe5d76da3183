"""From the flat fields that a person writes to a resolved training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, TypeAdapter

from memloc.config.architecture import ArchitectureConfig
from memloc.config.check import Fields, asked_type, fields_of
from memloc.config.hints import valid_values
from memloc.config.source import SourceConfig, written_for
from memloc.config.stop import misfit
from memloc.config.training import ADAMW, HeldOut, TrainConfig, default_peak
from memloc.config.types import Config, FieldError, PathOrSweep, Valid, Variant, holds_configs, marker
from memloc.config.variants import PathsInNames, VariantField, variant_field
from memloc.config.written import written
from memloc.errors import UsageError, nearest
from memloc.own_weights import files_of, hash_of_all


class TrainingFields(Fields):
    """The flat fields of trainings with one of these sources of data and one of these architectures.

    architectures, sources: {name: its configuration}. A name with a colon at its end, `timm:`, stands for all that begin
    with it. A name that is added to `sources` later is known at once.
    """

    def __init__(
        self, architectures: Mapping[str, type[ArchitectureConfig]], sources: Mapping[str, type[SourceConfig]]
    ) -> None:
        self.architectures, self.sources = dict(architectures), sources
        of_a_name: dict[str, Mapping[str, type[Variant]]] = {"source": sources, "architecture": self.architectures}
        self.variant_fields = [
            variant_field(name, of_a_name) for name in ("source", "architecture", "dropout", "batch_norm")
        ]
        self._unused: dict[tuple[str, ...], dict[str, str]] = {}
        self._variants: dict[Variant, Variant] = {}
        super().__init__(dict(self._flat()))

    def _flat(self) -> list[tuple[str, Any]]:
        flat: list[tuple[str, Any]] = []
        by_name = {held.field: held for held in self.variant_fields}
        for name, info in TrainConfig.model_fields.items():
            if name in by_name:
                flat += self._of_variants(by_name[name])
            elif holds_configs(info.annotation):
                flat += [(n, asked_type(i) | None) for n, i in HeldOut.model_fields.items()]
            else:
                flat.append((name, asked_type(info)))
        return flat

    def _of_variants(self, held: VariantField) -> list[tuple[str, Any]]:
        own: dict[str, list[Any]] = {}
        for variant in held.variants.values():
            for name in held.own(variant):
                own.setdefault(name, []).append(asked_type(variant.model_fields[name]))
        kind: Any = Literal[tuple(held.variants)]
        if held.default is None:
            kind = Annotated[self._named_type(held), PathsInNames(held=held)]
        return [(held.flat, kind), *((name, _either(types)) for name, types in own.items())]

    def _named_type(self, held: VariantField) -> Any:
        """The type of a name that a variant checks."""
        named: Any = held.variants.items()
        forms = [config.FORM or (name + "NAME" if name.endswith(":") else name) for name, config in named]
        valid = ", ".join(forms)

        def check(value: str) -> str:
            variant = held.variant({held.flat: value})
            if variant is None:
                close = self._meant(value) if held.flat == "model" else nearest(value, held.variants)
                if held.field == "source":
                    close = written_for(value, self.sources) or close
                raise ValueError(f"valid: {valid}{close}")
            info = variant.model_fields[variant.KIND]
            return str(TypeAdapter(asked_type(info), config=Config.model_config).validate_python(value))

        return Annotated[str, AfterValidator(check), Valid(valid)]

    def _meant(self, value: str) -> str:
        """The model that an unknown name may mean, such as `timm:resnet18` for `resnet18`."""
        close = nearest(value, (name for name in self.architectures if not name.endswith(":")))
        for prefix, architecture in self.architectures.items():
            known = architecture.known(value.lower()) if prefix.endswith(":") else None
            if known and not (close and f"{value.lower()!r}" in close):
                return f" (write {known})"
        return close

    def unused(self, values: Mapping[str, Any]) -> dict[str, str]:
        """{field: why} of the fields that the variants of these values do not have."""
        kinds = tuple(str(values.get(held.flat, held.default)) for held in self.variant_fields)
        if kinds not in self._unused:  # of ten thousand trainings a few differ in this
            unused = self._unused_with(values)
            if not all(held.variant(values) for held in self.variant_fields):
                return unused  # a name may become known later
            self._unused[kinds] = unused
        return self._unused[kinds]

    def _unused_with(self, values: Mapping[str, Any]) -> dict[str, str]:
        absent: dict[str, tuple[VariantField, list[str]]] = {}
        for held in self.variant_fields:
            variant = held.variant(values)
            used = held.own(variant) if variant else []
            for kind, other in held.variants.items():
                for name in held.own(other):
                    if name not in used:
                        absent.setdefault(name, (held, []))[1].append(kind)
        kinds_here = {held.flat: values.get(held.flat, held.default) for held in self.variant_fields}
        return {
            name: f"used only with {held.flat}: {' or '.join(kinds)} (here {held.flat} is {kinds_here[held.flat]})"
            for name, (held, kinds) in absent.items()
        }

    def decided_by(self, name: str) -> str | None:
        """The flat field that decides whether a training has this one: `dropout` for `p_gen`; None if all have it."""
        holding = [h.flat for h in self.variant_fields if any(name in h.own(variant) for variant in h.variants.values())]
        return holding[0] if holding else None

    def default(self, name: str, values: Mapping[str, Any]) -> Any:
        """What a field holds beside these flat values if it is not given; None if it is not used, or has to be given."""
        for held in self.variant_fields:
            if name == held.flat:
                return held.default
            if (variant := held.variant(values)) and name in held.own(variant):
                return _default(variant, name)
        if name == "peak_epoch":
            schedule, epochs = (values.get(field, _default(TrainConfig, field)) for field in ("schedule", "epochs"))
            return default_peak(schedule, epochs)
        if name in ADAMW and values.get("optimizer") == "adamw":
            return ADAMW[name]
        return _default(TrainConfig, name) if name in TrainConfig.model_fields else None

    def resolve(self, values: Mapping[str, Any]) -> tuple[TrainConfig | None, dict[str, str]]:
        """(the resolved configuration, {}), or (None, {field: problem}). Each of the `values` is valid by itself."""
        absent = self.unused(values)
        kept = {name: value for name, value in values.items() if name not in absent}
        problems: dict[str, str] = {}
        nested: dict[str, Any] = {held.field: self._variant(held, kept, problems) for held in self.variant_fields}
        nested["held_out"] = self._held_out(kept, problems)
        architecture = nested["architecture"]
        if kept.get("compile") and isinstance(architecture, ArchitectureConfig) and architecture.NOT_COMPILED:
            problems["compile"] = f"true with model: {architecture.name}: {architecture.NOT_COMPILED}; valid: false"
        given = self._given(kept, problems)
        if problems:
            return None, problems
        own = {name: value for name, value in kept.items() if name in TrainConfig.model_fields.keys() - nested.keys()}
        if own.get("data_seed") == "seed":
            own["data_seed"] = own.get("seed", 0)
        own |= given
        if own.get("optimizer") == "adamw":
            own = {**ADAMW, **own}
        if own.get("peak_epoch") is None:
            own["peak_epoch"] = self.default("peak_epoch", own)
        config = TrainConfig(**own, **nested)
        if config.stop is not None and (problem := misfit(config.stop, config.epochs)):
            return None, {"stop": problem}
        return config, {}

    def _variant(self, held: VariantField, kept: Mapping[str, Any], problems: dict[str, str]) -> Variant | None:
        variant = held.variant(kept)
        if variant is None:
            problems[held.flat] = f"required; valid: {self.valid(held.flat)}"
            return None
        kind, own, before = kept.get(held.flat, held.default), dict[str, Any](), len(problems)
        for name in held.own(variant):
            info = variant.model_fields[name]
            if name not in kept:
                if info.is_required():
                    problems[name] = f"required with {held.flat}: {kind}; valid: {valid_values(asked_type(info))}"
                continue
            own[name], problem = fields_of(variant).check(name, kept[name])
            if problem:
                problems[name] = f"{written(kept[name])} with {held.flat}: {kind}; valid: {valid_values(asked_type(info))}"
        if len(problems) > before:
            return None
        try:
            made = variant(**{variant.KIND: kind}, **own).completed()
        except UsageError as error:
            problems[held.flat] = "; ".join(error.problems)
            return None
        except FieldError as error:
            problems[error.field] = str(error)
            return None
        return self._variants.setdefault(made, made)  # one for all trainings that have it

    def _given(self, kept: Mapping[str, Any], problems: dict[str, str]) -> dict[str, Any]:
        """{field: value} that checkpoints from elsewhere imply: the last epoch, and the hash of the files."""
        origin, epochs = kept.get("given_from"), kept.get("given_epochs")
        if origin is None and epochs is None:
            return {}
        if origin is None or epochs is None:
            if epochs is None:
                problems["given_epochs"] = "epochs is required beside from; valid: the epochs of its files, such as [0, 10]"
            else:
                problems["given_from"] = "from is required beside epochs; valid: a folder, or a path with {epoch}"
            return {}
        if kept.get("ratio") is not None:
            problems["given_from"] = "with ratio: the checkpoints are of one training; valid: without ratio and cut"
        if kept.get("stop") is not None:
            problems["stop"] = "with given_from: there is no training that could end; valid: null"
        known: list[int] = json.loads(epochs)
        implied: dict[str, Any] = {"epochs": known[-1]}
        if not known[-1]:
            problems["given_epochs"] = "[0] is only the initialisation; valid: with the last epoch of the training"
        elif kept.get("given_sha256") is None and not problems:
            try:
                implied["given_sha256"] = hash_of_all(files_of(origin, known, kept.get("seed", 0)))
            except UsageError as error:
                problems["given_from"] = "; ".join(error.problems)
        return implied

    def placeless(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The flat fields of a training without folders: of a path its last name is left. No id depends on the others."""
        kinds = {name: marker(self[name], PathOrSweep) if name in self else None for name in config}
        return {name: kind.placeless(config[name]) if kind else config[name] for name, kind in kinds.items()}

    def _held_out(self, kept: Mapping[str, Any], problems: dict[str, str]) -> HeldOut | None:
        given = {name: kept[name] for name in HeldOut.model_fields if kept.get(name) is not None}
        for name in HeldOut.model_fields.keys() - given.keys() if given else ():
            valid = valid_values(asked_type(HeldOut.model_fields[name]))
            problems[name] = f"required with {', '.join(given)}; valid: {valid}"
        return HeldOut(**given) if len(given) == len(HeldOut.model_fields) else None

    def resolved(self, **values: Any) -> TrainConfig:
        """The resolved training of these flat values.

        Raises:
            UsageError: naming every problem.
        """
        problems = []
        for name, value in values.items():
            problem = self.check_name(name) or self.check(name, value)[1]
            if problem:
                problems.append(f"{name}: {problem}")
        absent = self.unused(values)
        problems += [f"{name}: {absent[name]}" for name in values if name in absent]
        if problems:
            raise UsageError(*problems)
        config, misfits = self.resolve(values)
        if config is None:
            raise UsageError(*(f"{name}: {problem}" for name, problem in misfits.items()))
        return config


def _either(types: Sequence[Any]) -> Any:
    """The type of a field that several variants have. A field of words takes the words of all variants.

    Raises:
        TypeError: the variants have different types that are not words.
    """
    if all(get_origin(t) is Literal for t in types):
        return Literal[tuple(dict.fromkeys(word for t in types for word in get_args(t)))]
    one, *others = types
    if any(other != one for other in others):
        raise TypeError(f"variants have a field of one name and several types: {types}")
    return one


def _default(cls: type[Config], name: str) -> Any:
    info = cls.model_fields[name]
    return None if info.is_required() else info.default

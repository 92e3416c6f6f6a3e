"""Resolve a configuration, once, into a value in which every name is an object."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError
from noisylabels.core.files import check_file, file_digest, real_path
from noisylabels.core.urls import local_path, url_of
from noisylabels.core.user_code import code_file
from noisylabels.experiment.auto_loss import AUTO
from noisylabels.experiment.config import RunConfig, canonical_id, has_texts, is_table
from noisylabels.experiment.recording import check_record
from noisylabels.experiment.table_settings import canonical_names

if TYPE_CHECKING:
    import torch

    from noisylabels.losses.modules import Loss
    from noisylabels.methods.expression import MethodSpec
    from noisylabels.noise.spec import NoiseSpec


@dataclass(frozen=True, eq=False)
class ResolvedRun:
    """A configuration with its names resolved to objects. No later code parses an expression again.

    Whatever needs a file, a device or the user's model is computed on first access, so that the result of a
    finished run can be read without them; `check` accesses all of it.

    Args:
        config: the configuration, in canonical form.
        loss: the loss; None if it is to be chosen from the data.
        noise: the label noise to add.
        method: the training method.
    """

    config: RunConfig
    loss: Loss | None
    noise: NoiseSpec
    method: MethodSpec

    @cached_property
    def run_id(self) -> str:
        """The id of the run."""
        return canonical_id(self.config)

    @cached_property
    def out(self) -> Path:
        """The folder of the run: `config.out`, or one with a readable name that ends in the id."""
        from noisylabels.methods.expression import STANDARD

        config = self.config
        if config.out is not None:
            return Path(config.out).expanduser()
        words = [real_path(Path(config.data)).name, config.noise, config.loss]
        words += [config.method] * (config.method != STANDARD)
        words.append(f"seed{config.seed}")
        # truncated, because a folder's name is limited to 255 bytes
        name = "-".join("".join(c if c.isalnum() or c in "+.@" else "_" for c in w[:32]) for w in words)
        return Path("runs") / f"{name}-{self.run_id}"

    @cached_property
    def code_files(self) -> dict[str, str]:
        """The sha256 of each file of the user's own code, by file or module, without their imports."""
        from noisylabels.losses.user_loss import user_specs

        own = [] if self.loss is None else user_specs(self.loss.terms)
        return _code_digests(self.config.model, [*own, *([self.method.name] if self.method.is_user else [])])

    @cached_property
    def files(self) -> dict[str, dict[str, str]]:
        """The sha256 of each input file besides the data, by kind and file.

        Raises:
            InputError: one of them is missing.
        """
        from noisylabels.encoders.catalog import files_of
        from noisylabels.methods.inputs import files_of as files_of_method

        labels = [] if self.config.labels is None else [self.config.labels]
        weights = [str(path) for path in files_of(self.config.features)]
        return {
            kind: {file: file_digest(check_file(Path(file))) for file in files}
            for kind, files in (
                ("noise files", self.noise.files),
                ("label files", labels),
                ("encoder files", weights),
                ("method files", files_of_method(self.method.needs)),
            )
        } | {"code files": self.code_files}

    @cached_property
    def device(self) -> torch.device:
        """The device to run on.

        Raises:
            InputError: the device does not exist.
        """
        from noisylabels.core.device import pick_device

        return pick_device(self.config.device)

    def check(self) -> None:
        """Raise an `InputError` for anything wrong that can be detected before reading the data."""
        from noisylabels.models.catalog import check_model

        check_model(self.config.model)
        check_record(self.config.record)
        _ = self.files, self.device


def resolve(config: RunConfig) -> ResolvedRun:
    """Return a configuration with its names resolved; each expression is parsed here, once.

    Args:
        config: in any form; "MAE + NCE" becomes "nce+mae", "photos/" becomes "photos".

    Raises:
        InputError: an invalid loss, noise, method or augmentation, an unknown model; a loss that compares two
            views, or that the method is not defined for.
    """
    from noisylabels.data.augment import parse_augment
    from noisylabels.encoders.catalog import auto_for_texts, canonical_features
    from noisylabels.encoders.names import AUTO as AUTO_FEATURES
    from noisylabels.encoders.names import NONE
    from noisylabels.experiment.model_input import check_takes_features
    from noisylabels.losses.expression import loss
    from noisylabels.methods.expression import STANDARD, method
    from noisylabels.models.catalog import canonical_model
    from noisylabels.noise.spec import NoiseSpec

    trained_by = method(config.method)
    text = config.loss
    if text.strip().lower() == AUTO and trained_by.name != STANDARD:
        text = trained_by.auto_loss
    criterion = None if text.strip().lower() == AUTO else loss(text)
    if criterion is not None and trained_by.own_loss not in (None, criterion.expression):
        raise InputError(
            f"the method {trained_by.name} has a loss of its own, and the loss is {config.loss!r}; leave out "
            f"the loss, or use {trained_by.own_loss}"
        )
    if criterion is not None and "two views" in criterion.needs and not trained_by.compares_views:
        raise InputError(
            f"the loss {config.loss!r} compares two views of each example, and the method "
            f"{trained_by.name} gives it one (gjs is then js); use js here, or the method {STANDARD}"
        )
    if trained_by.fitted:  # nothing is trained, and no setting of training has an effect
        config = replace(config, epochs=1, warmup_epochs=0.0, frozen_epochs=0, table_recipe="")
    free, table = canonical_names(config.table_recipe), is_table(config)
    features = canonical_features(config.features, table)
    if features == AUTO_FEATURES and table:
        # of texts, for which the encoder depends on what is installed
        features = auto_for_texts()[0] if has_texts(config) or config.text_column else NONE
    if features == NONE and config.features != NONE and not table:
        free = ""  # no encoder is installed
    if config.keep_epoch == "best" and not config.validation and "validation" not in free.split(","):
        raise InputError("keep_epoch best needs validation examples; set validation, such as 0.1")
    data, labels = _data_name(config.data), _labels_path(config.labels)
    noise = NoiseSpec.parse(config.noise)
    model = trained_by.model_for(canonical_model(config.model))
    check_takes_features(model, features)
    spelled = replace(
        config,
        data=data,
        features=features,
        labels=labels,
        model=model,
        loss=AUTO if criterion is None else criterion.expression,
        noise=str(noise),
        method=trained_by.expression,
        table_recipe=free,
        augment=config.augment if config.augment == "auto" else str(parse_augment(config.augment)),
    )
    return ResolvedRun(spelled, criterion, noise, trained_by)


def canonical(config: RunConfig) -> RunConfig:
    """Return the configuration in canonical form: "MAE + NCE" is "nce+mae", "photos/" is "photos".

    Args:
        config: in any form, as for `resolve`.

    Raises:
        InputError: as `resolve`.

    >>> from noisylabels import RunConfig
    >>> canonical(RunConfig(loss="MAE + NCE")).loss
    'nce+mae'
    """
    return resolve(config).config


def run_id(config: RunConfig) -> str:
    """Return the id of a run: 12 hexadecimal digits of its identity, independent of where it executes.

    Args:
        config: in any form, as for `resolve`. A setting at its default does not change the id.

    Raises:
        InputError: as `resolve`.

    >>> from noisylabels import RunConfig
    >>> run_id(RunConfig(loss="mae + nce")), run_id(RunConfig(loss="nce+mae"))
    ('61a98e8a755e', '61a98e8a755e')
    """
    return resolve(config).run_id


def code_digests(config: RunConfig) -> dict[str, str]:
    """Return `ResolvedRun.code_files` of a configuration without running any of the code.

    Raises:
        InputError: an invalid loss.
    """
    from noisylabels.losses.expression import read_terms
    from noisylabels.losses.user_loss import unresolved_row, user_specs
    from noisylabels.methods.expression import user_method

    specs = [] if config.loss == AUTO else user_specs(read_terms(config.loss, unresolved_row))
    specs += [] if (own := user_method(config.method)) is None else [own]
    return _code_digests(config.model, specs)


def _code_digests(model: str, others: Iterable[str]) -> dict[str, str]:
    from noisylabels.models.catalog import is_user_model

    specs = [*others, *([model] if is_user_model(model) else [])]
    return {spec.rpartition(":")[0]: file_digest(path) for spec in specs if (path := code_file(spec))}


def _data_name(data: str) -> str:
    from noisylabels.data.catalog import DATA

    if not data.strip():
        raise InputError(
            "the data set is an empty text, expected a name or a path; for the current folder write ."
        )
    if data in DATA:
        return data
    if (url := url_of(data)) is not None:
        return url
    data = os.fspath(local_path(data))
    path = os.path.normpath(os.path.expanduser(data))
    return os.path.join(".", path) if path in DATA else path  # a folder with the name of a data set


def _labels_path(labels: str | None) -> str | None:
    if labels is None:
        return None
    if not labels.strip():
        raise InputError("the file of labels is an empty text, expected a path such as corrected.csv")
    return os.path.normpath(os.path.expanduser(labels))

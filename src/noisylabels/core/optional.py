"""Import packages that are not always installed, or do not always fit the others."""

from __future__ import annotations

import importlib
from typing import Any

from noisylabels.core.checks import InputError, one_line


def import_optional(module: str, missing: str) -> Any:
    """Return a module of a package that may be missing.

    Args:
        module: its dotted name.
        missing: the error if the package is not installed, which says how to install it.

    Raises:
        InputError: `missing`; or the package is installed but fails on import, as timm does beside a
            torchvision of another version of torch.

    >>> import_optional("no_such_package", "the page needs no_such_package: pip install no_such_package")
    Traceback (most recent call last):
    ...
    noisylabels.core.checks.InputError: the page needs no_such_package: pip install no_such_package
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except MemoryError:
        raise
    except Exception as error:  # a package whose parts do not fit can raise anything
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
            raise InputError(missing) from None
        raise InputError(f"{package} is installed but cannot be imported: {one_line(error)}") from error

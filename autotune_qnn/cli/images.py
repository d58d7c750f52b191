"""The options that say how images become inputs, on top of a model's own record."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from autotune_qnn.evaluation.preprocessing import Fit, ImageRecipe


def chosen_recipe(arguments: argparse.Namespace, recipe: ImageRecipe) -> ImageRecipe:
    """The recipe with what --fit, --mean and --std say instead. UsageError for numbers that cannot be."""
    changes: dict[str, Any] = {name: getattr(arguments, name) for name in ("mean", "std")}
    changes["fit"] = None if arguments.fit is None else Fit(arguments.fit)
    return dataclasses.replace(
        recipe, **{name: value for name, value in changes.items() if value is not None}
    )

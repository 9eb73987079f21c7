"""Whether `astcapture.attention` finds every function that records a map when a model runs."""

from __future__ import annotations

from torch import nn

from astcapture.imports.model_targets import attention_targets
from astcapture.values.cache import Cache


def assert_all_are_found(model: nn.Module, rec: Cache) -> None:
    """Every function that has recorded something is among those that would be installed for this model."""
    targets = attention_targets(model)
    ran = [key for key, records in rec.items() if len(records)]
    assert ran
    for key in ran:
        module, _, function = key.partition(":")
        assert any(one.module == module and one.matches_function(function) for one in targets), (key, targets)

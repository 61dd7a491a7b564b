"""Every field of every preset: what the authors' files say, and what we have otherwise.

`PRESETS` has a `Row` for each preset. In `published` stand the values of the published experiment: those of its authors' files (the
configurations, defaults and commands of their repositories), with the options that a row of their results names. In `ours` stands what the
preset has in another way, and all that was never published. What neither names has the value of `rows.HOUSE` and `rows.METHODS`.
"""

from preset_table import convex, digits, event_sets, local_classifiers, local_losses, models, rings, tssl_bp
from preset_table.rows import UNKNOWN, Row

__all__ = ["PRESETS", "UNKNOWN", "Row"]

PRESETS: dict[str, Row] = {
    **{**tssl_bp.PRESETS, **rings.PRESETS, **local_classifiers.PRESETS},
    **{**local_losses.PRESETS, **convex.PRESETS, **digits.PRESETS, **event_sets.PRESETS, **models.PRESETS},
}

"""Every figure of the course as a pure function: numbers in, `Figure` out; `show` puts it into the notebook.

A figure answers one question and its title states the answer, so the caller writes it. Nothing here measures or
trains; give a figure what `course_lib.timing` or a model returned. One module for each kind of figure; `base` has
what they share.
"""

from course_lib.concept_map import concept_map_html
from course_lib.plots.base import png, show, style
from course_lib.plots.caches import cache_error_plot, cache_sizes_plot, factors_plot, shrunk, size_text
from course_lib.plots.choosing import choice_maps, decision_plot, flip_plot, lengths_plot
from course_lib.plots.conversations import conversation, conversation_plot, told_plot, turns_plot
from course_lib.plots.curves import (
    cost_plot,
    extrapolation_plot,
    layer_share_plot,
    local_exponent_plot,
    predicted_sweep,
    residual_plot,
    roofline_plot,
    samples_plot,
    sweep_plot,
    trial_plot,
)
from course_lib.plots.decays import Kept, kept, kept_plot
from course_lib.plots.decoding import cache_plot, decode_plot
from course_lib.plots.delta import collide, collision_plot, switch_plot
from course_lib.plots.map import concept_map
from course_lib.plots.matrices import (
    matrix_plot,
    memory_heatmap,
    recall_plot,
    weights_plot,
)
from course_lib.plots.memory import frontier_plot, learning_plot, memory_plot, recall_age_grid
from course_lib.plots.patterns import computed_text, layered_pattern, pattern_grid, pattern_text, reach_plot
from course_lib.plots.report import Axis, Card, card_plot, front_of, front_plot, needle_plot, seed_points_grid
from course_lib.plots.state_space import discretisation_plot, impulse_plot, scan_tree, trace_plot
from course_lib.plots.transitions import transition_table

__all__ = [
    "Axis",
    "Card",
    "Kept",
    "cache_error_plot",
    "cache_plot",
    "cache_sizes_plot",
    "card_plot",
    "choice_maps",
    "collide",
    "collision_plot",
    "computed_text",
    "concept_map",
    "concept_map_html",
    "conversation",
    "conversation_plot",
    "cost_plot",
    "decision_plot",
    "decode_plot",
    "discretisation_plot",
    "extrapolation_plot",
    "factors_plot",
    "flip_plot",
    "front_of",
    "front_plot",
    "frontier_plot",
    "impulse_plot",
    "kept",
    "kept_plot",
    "layer_share_plot",
    "layered_pattern",
    "learning_plot",
    "lengths_plot",
    "local_exponent_plot",
    "matrix_plot",
    "memory_heatmap",
    "memory_plot",
    "needle_plot",
    "pattern_grid",
    "pattern_text",
    "png",
    "predicted_sweep",
    "reach_plot",
    "recall_age_grid",
    "recall_plot",
    "residual_plot",
    "roofline_plot",
    "samples_plot",
    "scan_tree",
    "seed_points_grid",
    "show",
    "shrunk",
    "size_text",
    "style",
    "sweep_plot",
    "switch_plot",
    "told_plot",
    "trace_plot",
    "transition_table",
    "trial_plot",
    "turns_plot",
    "weights_plot",
]

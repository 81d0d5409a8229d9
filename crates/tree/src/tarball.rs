//! tar archives as trees.

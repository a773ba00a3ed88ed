//! weir's load tools.

//! The mechanisms that confine.

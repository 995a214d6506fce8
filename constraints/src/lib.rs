//! Tests that say what they need.

//! The attribute of kata-test, and nothing else.

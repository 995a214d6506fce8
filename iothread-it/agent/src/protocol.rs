//! The messages between host and agent.

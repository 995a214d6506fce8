//! The guest: the agent that answers in it, and the image that it boots.

mod agent;
pub mod image;
pub mod kernel;

pub use agent::{Agent, AgentError, RunningLoad};
pub use guest_agent::{pattern, protocol};

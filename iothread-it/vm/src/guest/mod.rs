//! The guest: client of its agent, boot image and kernel.

mod agent;
mod built_file;
pub mod image;
pub mod kernel;

pub use agent::{Agent, AgentError, RunningLoad, RunningProgram};
pub use guest_agent::{pattern, protocol, speed};

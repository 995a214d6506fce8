//! The commands of this workspace.

#[expect(dead_code, reason = "the commands that boot a guest call it")]
mod progress;
#[expect(dead_code, reason = "the commands that boot a guest call it")]
mod provision;

fn main() {}

//! Progress of provisioning.

/// Receives the progress of provisioning.
pub trait Progress {
    /// A step started, such as `downloading qemu-system-x86`.
    fn started(&mut self, step: &str);

    /// The fraction of the current step that is done, from 0 to 1.
    fn advanced(&mut self, fraction: f64);

    /// An event for a line of its own, such as a damaged file that is fetched again.
    fn noted(&mut self, text: &str);

    /// The current step finished.
    fn finished(&mut self);
}

/// Ignores the progress.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn started(&mut self, _step: &str) {}
    fn advanced(&mut self, _fraction: f64) {}
    fn noted(&mut self, _text: &str) {}
    fn finished(&mut self) {}
}

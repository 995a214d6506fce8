//! What provisioning tells the person who waits for it.

/// Receives the steps of a provisioning as they happen.
pub trait Progress {
    /// A step has started, such as `downloading qemu-system-x86`.
    fn started(&mut self, step: &str);

    /// The running step is done up to this fraction, between 0 and 1.
    fn advanced(&mut self, fraction: f64);

    /// Something worth a line of its own has happened, such as a damaged file that is fetched again.
    fn noted(&mut self, text: &str);

    /// The running step is over.
    fn finished(&mut self);
}

/// Tells nobody.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn started(&mut self, _step: &str) {}
    fn advanced(&mut self, _fraction: f64) {}
    fn noted(&mut self, _text: &str) {}
    fn finished(&mut self) {}
}

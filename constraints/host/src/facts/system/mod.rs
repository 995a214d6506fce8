//! What facts are read from: files and system calls. Tests put texts in their place.

mod live;

use std::io;
use std::sync::Arc;

use super::{Answer, Question};
use nix::errno::Errno;

pub(super) use live::Live;

/// What uname(2) says.
#[derive(Clone, Debug)]
pub(crate) struct Uname {
    pub(crate) release: String,
    pub(crate) version: String,
}

/// What the CPU itself says about a hypervisor.
#[derive(Clone, Debug)]
pub(crate) enum Hypervisor {
    /// This architecture has no way to ask.
    #[cfg_attr(
        all(target_arch = "x86_64", not(test)),
        expect(dead_code, reason = "this one has a way")
    )]
    NoCpuid,
    /// The CPU says that it has none.
    None,
    /// The twelve letters with which it signs.
    Signature(String),
}

/// The kernel's configuration, and where it was.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) text: String,
    pub(crate) source: String,
}

/// A configuration that every question about a host shares, or why there is none.
pub(crate) type Loaded = Result<Arc<Config>, String>;

/// The part of a host that facts are read from.
pub(crate) trait System {
    /// A file's bytes, up to some megabytes.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// What a symbolic link says.
    fn link(&self, path: &str) -> io::Result<String>;
    /// Whether something is there.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// The magic number of the file system at a path, by statfs(2).
    fn magic(&self, path: &str) -> io::Result<u64>;
    /// What uname(2) says.
    fn uname(&self) -> io::Result<Uname>;
    /// By geteuid(2).
    fn effective_uid(&self) -> u32;
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// The architecture that this program was compiled for.
    fn arch(&self) -> &str;
    /// What the CPU says about a hypervisor.
    fn hypervisor(&self) -> Hypervisor;
    /// How many CPUs this process may use.
    fn cpus(&self) -> io::Result<usize>;
    /// Where temporary files go, and how many bytes are free there.
    fn disk_free(&self) -> (String, io::Result<u64>);
    /// The kernel's configuration, loaded once for all questions about it where that can be.
    fn kconfig(&self, load: &dyn Fn() -> Loaded) -> Loaded {
        load()
    }
    /// Decompresses a gzip file.
    fn gunzip(&self, path: &str) -> Result<Vec<u8>, String>;
    /// Answers a question by an active check: running, opening, creating.
    fn probe(&self, question: Question) -> Answer;
}

/// A file as text, whatever its encoding.
pub(super) fn text(system: &dyn System, path: &str) -> Result<String, String> {
    match system.read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(format!("cannot be read: {}", why(&error))),
    }
}

/// An error by its short name, if it has one.
pub(super) fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => errno(Errno::from_raw(code)),
        None => error.to_string(),
    }
}

/// A short name and what it means: `EACCES, permission denied`.
pub(super) fn errno(errno: Errno) -> String {
    format!("{errno:?}, {}", errno.desc().to_lowercase())
}

//! The sources of facts: files and system calls. Tests put texts in their place.

mod live;

use std::io;
use std::sync::Arc;

use super::{Answer, Question};
use nix::errno::Errno;

pub(super) use live::Live;

/// Fields of uname(2).
#[derive(Clone, Debug)]
pub(crate) struct Uname {
    pub(crate) release: String,
    pub(crate) version: String,
}

/// The hypervisor, according to CPUID.
#[derive(Clone, Debug)]
pub(crate) enum Hypervisor {
    /// This architecture has no CPUID.
    #[cfg_attr(
        all(target_arch = "x86_64", not(test)),
        expect(dead_code, reason = "this one has it")
    )]
    NoCpuid,
    /// There is none.
    None,
    /// The twelve letters of its signature.
    Signature(String),
}

/// The kernel's configuration and its source.
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
    /// The target of a symbolic link.
    fn link(&self, path: &str) -> io::Result<String>;
    /// Whether a path exists.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// The magic number of the file system at a path, by statfs(2).
    fn magic(&self, path: &str) -> io::Result<u64>;
    /// By uname(2).
    fn uname(&self) -> io::Result<Uname>;
    /// By geteuid(2).
    fn effective_uid(&self) -> u32;
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// The architecture that this program was compiled for.
    fn arch(&self) -> &str;
    /// The hypervisor, according to CPUID.
    fn hypervisor(&self) -> Hypervisor;
    /// How many CPUs this process may use.
    fn cpus(&self) -> io::Result<usize>;
    /// The folder of temporary files, and its free bytes.
    fn disk_free(&self) -> (String, io::Result<u64>);
    /// The kernel's configuration. An implementation may keep it for all questions about it.
    fn kconfig(&self, load: &dyn Fn() -> Loaded) -> Loaded {
        load()
    }
    /// Decompresses a gzip file.
    fn gunzip(&self, path: &str) -> Result<Vec<u8>, String>;
    /// Answers a question by an active check: running, opening, creating.
    fn probe(&self, question: Question) -> Answer;
}

/// Reads a file as text, whatever its encoding. The error is the answer to the question that needs it.
pub(super) fn text(system: &dyn System, path: &str) -> Result<String, Answer> {
    match system.read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            let problem = format!("cannot be read: {}", why(&error));
            Err(Answer::unknown(problem, path.to_owned()))
        }
    }
}

/// Calls uname(2). The error is the answer to the question that needs it.
pub(super) fn uname(system: &dyn System) -> Result<Uname, Answer> {
    let uname = system.uname();
    uname.map_err(|error| Answer::unknown(why(&error), "uname"))
}

/// Formats an error by its short name, if it has one.
pub(super) fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => errno(Errno::from_raw(code)),
        None => error.to_string(),
    }
}

/// Formats an error number by name and description: `EACCES, permission denied`.
pub(super) fn errno(errno: Errno) -> String {
    format!("{errno:?}, {}", errno.desc().to_lowercase())
}

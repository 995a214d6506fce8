//! Opens parsers to the fuzz targets in `xtask/fuzz`. It is not stable.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;

use crate::constraint::{Release, Version};
use crate::facts::{self, Answer, Host, Hypervisor, Question, System, Uname, answer};

/// A host that consists of files.
#[derive(Debug, Default)]
pub struct Files {
    /// The kernel's release.
    pub release: String,
    /// The files, by their paths.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Host for Files {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        Cow::Owned(answer(question, self))
    }
}

impl System for Files {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(absent)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        let bytes = self.read(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A folder exists if a file in it does.
    fn exists(&self, path: &str) -> io::Result<bool> {
        let folder = format!("{path}/");
        let is = |name: &String| name == path || name.starts_with(&folder);
        Ok(self.files.keys().any(is))
    }

    /// The file system of the cgroups is the one of version 2, or of version 1 if there is a `memory`.
    fn magic(&self, path: &str) -> io::Result<u64> {
        let v1 = self.exists("/sys/fs/cgroup/memory")?;
        match self.exists(path)? {
            true => Ok(if v1 { 0x0102_1994 } else { 0x6367_7270 }),
            false => Err(absent()),
        }
    }

    fn uname(&self) -> io::Result<Uname> {
        Ok(Uname {
            release: self.release.clone(),
            version: String::new(),
        })
    }

    fn effective_uid(&self) -> u32 {
        0
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn arch(&self) -> &str {
        "x86_64"
    }

    fn hypervisor(&self) -> Hypervisor {
        Hypervisor::Signature("KVMKVMKVM".to_owned())
    }

    fn cpus(&self) -> io::Result<usize> {
        Ok(1)
    }

    fn disk_free(&self) -> (String, io::Result<u64>) {
        ("/tmp".to_owned(), Ok(0))
    }

    fn gunzip(&self, path: &str) -> Result<Vec<u8>, String> {
        self.read(path).map_err(|error| error.to_string())
    }

    fn probe(&self, question: Question) -> Answer {
        Answer::unknown("not probed", question.to_string())
    }
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Compares a kernel's release with a required version. `None` if one of them cannot be parsed.
pub fn compare_kernels(required: &str, running: &str) -> Option<Option<Ordering>> {
    let running = Release::parse(running)?;
    let required = Version::kernel(kept(required)).ok()?;
    Some(running.compare(&required))
}

/// Compares a version with a required one, both of numbers. `None` if the required one cannot be parsed.
pub fn compare_numbers(required: &str, version: &str, filled: bool) -> Option<Option<Ordering>> {
    let required = Version::numbers(kept(required)).ok()?;
    Some(required.compare_numbers(version, filled))
}

/// Returns the version in what a command printed.
pub fn first_version(printed: &str) -> Option<&str> {
    facts::first_version(printed)
}

/// Returns the value of a variable of os-release.
pub fn os_release_value(release: &str, name: &str) -> Option<String> {
    facts::os_release_value(release, name)
}

/// Constraints are constants, so their texts live as long as the process.
fn kept(text: &str) -> &'static str {
    Box::leak(text.into())
}

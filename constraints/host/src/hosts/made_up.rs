//! A host made of texts.

use std::borrow::Cow;
use std::io;

use crate::facts::{Answer, Finding, Host, Hypervisor, Question, System, Uname, answer};

/// What the kernel calls its own namespaces.
pub(super) const INITIAL_USER: (&str, &str) = ("/proc/self/ns/user", "user:[4026531837]");
pub(super) const INITIAL_PID: (&str, &str) = ("/proc/self/ns/pid", "pid:[4026531836]");

pub(super) const CGROUP2: u64 = 0x6367_7270;
pub(super) const TMPFS: u64 = 0x0102_1994;

/// A host as texts, and what it should make of constraints.
pub(super) struct MadeUp {
    pub(super) name: &'static str,
    pub(super) release: &'static str,
    pub(super) build: &'static str,
    pub(super) uid: u32,
    pub(super) files: Vec<(&'static str, &'static str)>,
    pub(super) links: &'static [(&'static str, &'static str)],
    /// What stands in every file, and what every link says.
    pub(super) everywhere: Option<String>,
    /// What begins so can neither be read nor looked at.
    pub(super) denied: &'static [&'static str],
    pub(super) env: &'static [(&'static str, &'static str)],
    pub(super) arch: &'static str,
    /// How the CPU's hypervisor signs; nothing on bare metal, `-` where no CPUID is.
    pub(super) signature: &'static str,
    pub(super) cgroup: u64,
    pub(super) cpus: usize,
    pub(super) disk_free: u64,
    /// What doing would show, by the question's text.
    pub(super) probes: Vec<(&'static str, Finding)>,
    pub(super) met: &'static [&'static str],
    pub(super) unmet: &'static [&'static str],
    pub(super) undetermined: &'static [&'static str],
}

impl MadeUp {
    /// A bare machine with an unprivileged user and nothing else.
    pub(super) fn new(name: &'static str, release: &'static str, build: &'static str) -> Self {
        Self {
            name,
            release,
            build,
            uid: 1000,
            files: Vec::new(),
            links: &[],
            everywhere: None,
            denied: &[],
            env: &[],
            arch: "x86_64",
            signature: "",
            cgroup: CGROUP2,
            cpus: 8,
            disk_free: 20 << 30,
            probes: Vec::new(),
            met: &[],
            unmet: &[],
            undetermined: &[],
        }
    }

    fn allowed(&self, path: &str) -> io::Result<()> {
        match self.denied.iter().any(|denied| path.starts_with(denied)) {
            true => Err(io::Error::from_raw_os_error(nix::libc::EACCES)),
            false => Ok(()),
        }
    }
}

fn absent() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::ENOENT)
}

impl System for MadeUp {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.allowed(path)?;
        if let Some(text) = &self.everywhere {
            return Ok(text.clone().into_bytes());
        }
        let file = self.files.iter().find(|(name, _)| *name == path);
        file.map(|(_, text)| text.as_bytes().to_vec())
            .ok_or_else(absent)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.allowed(path)?;
        if let Some(text) = &self.everywhere {
            return Ok(text.clone());
        }
        let link = self.links.iter().find(|(name, _)| *name == path);
        link.map(|(_, to)| (*to).to_owned()).ok_or_else(absent)
    }

    /// A folder is there if something in it is.
    fn exists(&self, path: &str) -> io::Result<bool> {
        self.allowed(path)?;
        let folder = format!("{path}/");
        let is = |name: &str| name == path || name.starts_with(&folder);
        Ok(self.files.iter().any(|(name, _)| is(name))
            || self.links.iter().any(|(name, _)| is(name)))
    }

    fn magic(&self, path: &str) -> io::Result<u64> {
        self.allowed(path)?;
        if path == "/sys/fs/cgroup" {
            Ok(self.cgroup)
        } else {
            Err(absent())
        }
    }

    fn uname(&self) -> io::Result<Uname> {
        Ok(Uname {
            release: self.release.to_owned(),
            version: self.build.to_owned(),
        })
    }

    fn effective_uid(&self) -> u32 {
        self.uid
    }

    fn env(&self, name: &str) -> Option<String> {
        let variable = self.env.iter().find(|(key, _)| *key == name);
        variable.map(|(_, value)| (*value).to_owned())
    }

    fn arch(&self) -> &str {
        self.arch
    }

    fn hypervisor(&self) -> Hypervisor {
        match self.signature {
            "" if self.name == "blind" => Hypervisor::NoCpuid,
            "" => Hypervisor::None,
            "-" => Hypervisor::NoCpuid,
            signature => Hypervisor::Signature(signature.to_owned()),
        }
    }

    fn cpus(&self) -> io::Result<usize> {
        Ok(self.cpus)
    }

    fn disk_free(&self) -> (String, io::Result<u64>) {
        ("/tmp".to_owned(), Ok(self.disk_free))
    }

    fn gunzip(&self, path: &str) -> Result<Vec<u8>, String> {
        self.read(path).map_err(|_| "there is no gzip".to_owned())
    }

    fn probe(&self, question: Question) -> Answer {
        let key = question.to_string();
        let outcome = self.probes.iter().find(|(name, _)| *name == key);
        let unknown = || Finding::Unknown("nobody tried".to_owned());
        Answer::new(
            outcome.map_or_else(unknown, |(_, finding)| finding.clone()),
            key,
        )
    }
}

impl Host for MadeUp {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        Cow::Owned(answer(question, self))
    }
}

//! **Scope**: made-up machines. The tests of places run the command.

use std::borrow::Cow;
use std::path::PathBuf;

use kata_test::facts::{Answer, Finding, Host, Question};

use super::machine::{CacheState, Machine, Qemu};
use super::{checks, document, text};

/// The answers of a host.
struct MadeUp(fn(Question) -> Finding);

impl Host for MadeUp {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        Cow::Owned(Answer::new((self.0)(question), question.to_string()))
    }
}

fn is(text: &str) -> Finding {
    Finding::Is(text.to_owned())
}

fn absent(text: &str) -> Finding {
    Finding::Absent(text.to_owned())
}

/// A workstation where everything works.
fn everything(question: Question) -> Finding {
    match question {
        Question::EffectiveUid => is("1000"),
        Question::CommandVersion("cargo") => is("1.96.1"),
        Question::CommandVersion("cargo-nextest") => is("0.9.143"),
        Question::Command(name) => is(&format!("/usr/bin/{name}")),
        Question::Kvm => is("a guest's instructions have the right effects"),
        Question::KvmSpeed => is("36 ns for one iteration of a loop in a guest: hardware"),
        Question::Network => is("a default route by eth0"),
        Question::MemAvailable => is("8589934592"),
        _ => Finding::Unknown("not asked".to_owned()),
    }
}

/// A small container of a CI system.
fn container(question: Question) -> Finding {
    match question {
        Question::EffectiveUid => is("0"),
        Question::CommandVersion("cargo") => is("1.80.0"),
        Question::CommandVersion("cargo-nextest") => is("0.9.92"),
        Question::Kvm | Question::KvmSpeed => absent("there is no /dev/kvm"),
        Question::Network => absent("there is no default route"),
        Question::MemAvailable => is("268435456"),
        other => everything(other),
    }
}

/// A machine on which nothing is installed.
fn nothing(question: Question) -> Finding {
    match question {
        Question::EffectiveUid => is("1000"),
        Question::Kvm | Question::KvmSpeed => {
            absent("opening /dev/kvm: EACCES, this user has no permission")
        }
        Question::Network => is("a default route by eth0"),
        Question::CommandVersion(name) | Question::Command(name) => {
            absent(&format!("no executable file {name} found"))
        }
        _ => Finding::Unknown("/proc is not mounted".to_owned()),
    }
}

/// A KVM that works and is slow.
fn emulated(question: Question) -> Finding {
    match question {
        Question::KvmSpeed => is("5000 ns for one iteration of a loop in a guest: emulated"),
        other => everything(other),
    }
}

fn cache() -> CacheState {
    CacheState {
        folder: PathBuf::from("/home/me/.cache/kata-test"),
        problem: None,
        bytes: 2_100_000_000,
        limit: 10_000_000_000,
        free: 60_000_000_000,
        kernels: 2,
        has_qemu: true,
    }
}

fn machine(host: &MadeUp) -> Machine<'_> {
    Machine {
        host,
        is_root: false,
        userns: Ok("this host, as root in a user namespace without other users".to_owned()),
        sudo: Ok(()),
        vms: Ok(()),
        packages: Ok("trixie".to_owned()),
        qemu: Ok(Qemu::Installed(
            "10.0.8".to_owned(),
            "/usr/bin/qemu-system-x86_64".into(),
        )),
        cache: Ok(cache()),
        fitting_vms: 4,
        proxies: Vec::new(),
        variables: Vec::new(),
        runner: None,
    }
}

fn shown(machine: &Machine<'_>) -> String {
    text(&checks(machine), &machine.places())
}

#[test]
fn a_workstation() {
    insta::assert_snapshot!(shown(&machine(&MadeUp(everything))));
}

#[test]
fn a_small_container() {
    let host = MadeUp(container);
    let folder = PathBuf::from("/root/.cache/kata-test");
    let text = shown(&Machine {
        is_root: true,
        userns: Err(
            "this host has no place `userns`: cannot create a user namespace (EPERM): /proc/self/status has \
             Seccomp 2: a filter forbids it, as in a container; start the container with one that permits it \
             (`--security-opt seccomp=unconfined`), or run these tests in a VM"
                .to_owned(),
        ),
        sudo: Err("cannot run sudo: not found; install it".to_owned()),
        packages: Err(
            "apt has no source for trixie; add one to `/etc/apt/sources.list.d`, or name a Debian archive in \
             KATA_TEST_ARCHIVE"
                .to_owned(),
        ),
        qemu: Ok(Qemu::Packages(
            None,
            Some("/usr/bin/qemu-system-x86_64 is QEMU 5.2.0, which is older than 7.2.0".to_owned()),
        )),
        cache: Ok(CacheState {
            folder,
            bytes: 0,
            free: 40_000_000,
            kernels: 0,
            has_qemu: false,
            ..cache()
        }),
        fitting_vms: 1,
        proxies: vec!["HTTPS_PROXY".to_owned(), "no_proxy".to_owned()],
        variables: [("KATA_TEST_MAY_SKIP", "kvm"), ("KATA_TEST_CASHE", "/tmp")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        runner: Some("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER".to_owned()),
        ..machine(&host)
    });
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_can_run() {
    let host = MadeUp(nothing);
    let machine = Machine {
        userns: Err("this host has no place `userns`: EIO".to_owned()),
        sudo: Err("cannot run sudo: not found; install it".to_owned()),
        packages: Err("`apt-get` is not on PATH; install apt and dpkg".to_owned()),
        qemu: Err("the lock file is damaged; write it anew".to_owned()),
        cache: Err(
            "/tmp/cache belongs to user 7, and this is user 1000; set KATA_TEST_CACHE to a folder of this user"
                .to_owned(),
        ),
        ..machine(&host)
    };
    assert!(machine.places().iter().all(|(_, works)| !works));
    insta::assert_snapshot!(shown(&machine));
}

/// What differs from a workstation.
#[test]
fn single_lacks() {
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let everything = MadeUp(everything);
    let usual = lines(shown(&machine(&everything)));
    let mut texts = String::new();
    let mut add = |title: &str, machine: &Machine<'_>| {
        let other = lines(shown(machine));
        let other = other.into_iter().filter(|line| !usual.contains(line));
        texts += &format!("{title}\n");
        texts.extend(other.map(|line| format!("  {line}\n")));
    };
    add("an emulated KVM", &machine(&MadeUp(emulated)));
    add(
        "another architecture",
        &Machine {
            vms: Err("VMs need an x86_64 Linux host, and this is aarch64 linux; run the tests in other places".to_owned()),
            ..machine(&everything)
        },
    );
    add(
        "no apt, and a full cache",
        &Machine {
            packages: Err("`apt-get` is not on PATH; install apt and dpkg".to_owned()),
            cache: Ok(CacheState { free: 0, ..cache() }),
            qemu: Ok(Qemu::Packages(
                None,
                Some("`qemu-system-x86_64` is not on PATH".to_owned()),
            )),
            ..machine(&everything)
        },
    );
    add(
        "a cache of somebody else",
        &Machine {
            cache: Ok(CacheState {
                problem: Some("/home/me/.cache cannot be written: EACCES".to_owned()),
                ..cache()
            }),
            ..machine(&everything)
        },
    );
    insta::assert_snapshot!(texts);
}

#[test]
fn the_document_has_what_is_printed() {
    let host = MadeUp(container);
    let machine = machine(&host);
    let checks = checks(&machine);
    let printed = text(&checks, &machine.places());
    let document = serde_json::to_value(document(&checks, &machine.places())).unwrap();
    let documented = document["checks"].as_array().unwrap();
    assert_eq!(documented.len(), checks.len());
    for check in documented {
        for key in ["check", "finding", "effect"] {
            assert!(printed.contains(check[key].as_str().unwrap()), "{check}");
        }
        let has_next = check["next"].is_string();
        assert_eq!(check["result"] != "works", has_next, "{check}");
    }
    assert_eq!(document["places"][0]["place"], "here");
    assert_eq!(document["places"][0]["available"], true);
}

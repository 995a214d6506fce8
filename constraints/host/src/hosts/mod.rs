//! Hosts made of texts: what uname(2), os-release, /proc and /sys say on well-known systems. The
//! same code that looks at a real host reads them, and each knows what is met there and what not.
//!
//! Scope: facts that are read, and the verdicts and reasons that follow. What only doing shows
//! (KVM, devices, namespaces, commands) is given as its outcome; doing is tested beside the probes.

mod containers;
mod distributions;
mod machines;
mod made_up;

use made_up::MadeUp;

use proptest::prelude::*;

use crate::constraint::{Evaluation, Status, evaluate, parse};

/// All of them.
fn hosts() -> Vec<MadeUp> {
    let mut hosts = distributions::hosts();
    hosts.extend(containers::hosts());
    hosts.extend(machines::hosts());
    hosts
}

fn evaluated(constraint: &str, host: &MadeUp) -> Evaluation {
    let constraints = parse(constraint).unwrap_or_else(|error| panic!("{constraint}: {error}"));
    evaluate(&constraints, host)
}

#[test]
fn every_host_has_the_expected_verdicts() {
    for host in hosts() {
        for (expected, constraints) in [
            (Status::Met, host.met),
            (Status::Unmet, host.unmet),
            (Status::Undetermined, host.undetermined),
        ] {
            for constraint in constraints {
                let evaluation = evaluated(constraint, &host);
                let why = crate::reason::join(&evaluation.reasons);
                assert_eq!(
                    evaluation.status, expected,
                    "{}: {constraint}: {why}",
                    host.name
                );
            }
        }
    }
}

/// Every reason as a person reads it.
#[test]
fn reasons_of_every_host() {
    use std::fmt::Write;

    let mut text = String::new();
    for host in hosts() {
        let _ = writeln!(text, "{}", host.name);
        for constraint in host.unmet.iter().chain(host.undetermined) {
            for reason in evaluated(constraint, &host).reasons {
                let _ = writeln!(text, "  {reason}");
            }
        }
    }
    insta::assert_snapshot!(text);
}

/// Each constraint has a verdict with a text on each host.
#[test]
fn every_example_has_a_verdict_on_every_host() {
    for host in hosts() {
        for entry in crate::constraint::TABLE {
            if entry.name == "when" {
                continue;
            }
            let evaluation = evaluated(entry.example, &host);
            let met = evaluation.status == Status::Met;
            assert_eq!(
                met,
                evaluation.reasons.is_empty(),
                "{}: {}",
                host.name,
                entry.name
            );
            for reason in evaluation.reasons {
                assert!(!reason.observed.is_empty(), "{}: {reason}", host.name);
                assert!(!reason.source.is_empty(), "{}: {reason}", host.name);
            }
        }
    }
}

/// A host on which nothing can be read.
#[test]
fn an_unreadable_host_is_undetermined() {
    let host = MadeUp {
        uid: 0,
        denied: &["/"],
        ..MadeUp::new("blind", "", "")
    };
    for constraint in [
        "real_root",
        "caps = \"CAP_SYS_ADMIN\"",
        "kernel_ge = \"5\"",
        "module = \"kvm\"",
        "kconfig = \"CONFIG_KVM\"",
        "cgroup = \"v2\"",
        "cgroup_controller = \"memory\"",
        "distro = \"debian\"",
        "distro_like = \"debian\"",
        "container",
        "mem_available_ge = \"1KiB\"",
        "cpu_feature = \"avx2\"",
        "virt = \"none\"",
        "numa_nodes_ge = 1",
        "kernel_arg = \"quiet\"",
        "network = \"user\"",
    ] {
        let evaluation = evaluated(constraint, &host);
        assert_eq!(
            evaluation.status,
            Status::Undetermined,
            "{constraint}: {evaluation:?}"
        );
    }
}

/// Texts that resemble what the kernel says, and any others.
fn contents() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "((ID|VERSION_ID|ID_LIKE)=['\"]?[a-z0-9.]{0,4}['\"]?\n){0,3}",
        "((CapEff|MemAvailable|flags|Features|0:|1:memory|CONFIG_KVM)[:=]{1,2}[ \t/]?[0-9a-f]{0,20}( kB)?\n){0,4}",
    ]
}

proptest! {
    /// Whatever the files hold, each constraint is judged, and judged alike with words and without.
    #[test]
    fn no_content_panics(content in contents(), signature in "[ -~]{0,12}") {
        let signature: &'static str = signature.leak();
        for cgroup in [made_up::CGROUP2, made_up::TMPFS] {
            let host = MadeUp {
                everywhere: Some(content.clone()),
                signature,
                cgroup,
                ..MadeUp::new("noise", "6.1.0", "")
            };
            for entry in crate::constraint::TABLE.iter().filter(|entry| entry.name != "when") {
                let evaluation = evaluated(entry.example, &host);
                let met = evaluation.status == Status::Met;
                prop_assert_eq!(met, evaluation.reasons.is_empty());
            }
        }
    }
}

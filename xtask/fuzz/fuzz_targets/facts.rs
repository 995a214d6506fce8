//! Facts that are read from files: os-release, /proc, /sys, the kernel's configuration and module lists.
//!
//! The input has the files: a line `@PATH` begins one. A first line without `@` is the kernel's release.

#![no_main]

use kata_test_host::facts::{Finding, Host as _, Question};
use kata_test_host::fuzzing::{Files, first_version, os_release_value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut files = Files::default();
    let mut sections = text.split("\n@");
    files.release = sections.next().unwrap_or_default().to_owned();
    for section in sections {
        let (path, content) = section.split_once('\n').unwrap_or((section, ""));
        files
            .files
            .insert(path.to_owned(), content.as_bytes().to_vec());
    }
    let specific = [
        Question::Module("vhost_net"),
        Question::Kconfig("CONFIG_USER_NS"),
        Question::CpuFeature("vmx"),
        Question::Env("HOME"),
    ];
    for question in Question::GENERAL.iter().copied().chain(specific) {
        let answer = files.ask(question);
        let (Finding::Is(found) | Finding::Absent(found) | Finding::Unknown(found)) =
            &answer.finding;
        // A lossy conversion makes three bytes of one, and a message quotes some of the text.
        assert!(found.len() <= 6 * text.len() + 500, "{question}: {found}");
        if let (Question::MemAvailable | Question::Cpus, Finding::Is(number)) =
            (question, &answer.finding)
        {
            number.parse::<u64>().expect("a number");
        }
    }
    if let Some(version) = first_version(text) {
        assert!(
            version.starts_with(|c: char| c.is_ascii_digit()),
            "{version}"
        );
        assert!(
            version.chars().all(|c| c.is_ascii_digit() || c == '.'),
            "{version}"
        );
    }
    for line in text.lines().filter(|line| !line.is_empty()) {
        let quoted = line.replace('\\', "\\\\").replace('"', "\\\"");
        let release = format!("NAME=x\nID=\"{quoted}\"\n");
        assert_eq!(os_release_value(&release, "ID").as_deref(), Some(line));
    }
});

//! What code looks at of the host.

use super::definitions::Definitions;
use super::tokens::Token;

/// Something of the host that code looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostCheck {
    /// The effective or real uid.
    User,
    /// A capability, by its name if it is stated.
    Capability(Option<String>),
    /// The kernel's version, compared with this one if it is stated.
    Kernel(Option<String>),
    /// A file, by an absolute path.
    File(String),
    /// A program, by its name if it is stated.
    Command(Option<String>),
    /// An environment variable, by its name if it is stated.
    Variable(Option<String>),
    /// A feature of the CPU.
    CpuFeature(String),
    /// The number of CPUs.
    CpuCount,
    /// An error code by which the kernel refuses or lacks something.
    ErrorCode,
    /// A function or value whose name asks for something of the host, such as `is_locale_available`.
    ByName,
}

/// Returns what of the host these tokens look at, also by functions of the searched files.
pub(super) fn host_checks(tokens: &[Token], definitions: &Definitions) -> Vec<HostCheck> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        match check_at(tokens, at) {
            Some(check) => add(&mut found, check),
            None => {
                let called = definitions.checks_of_call(tokens, at);
                called
                    .iter()
                    .for_each(|check| add(&mut found, check.clone()));
            }
        }
    }
    // A vague check adds nothing to one that is stated.
    let is_vague = |check: &HostCheck| matches!(check, HostCheck::Kernel(None) | HostCheck::ByName);
    if !found.iter().all(is_vague) {
        found.retain(|check| !is_vague(check));
    }
    found
}

fn add(found: &mut Vec<HostCheck>, check: HostCheck) {
    if !found.contains(&check) {
        found.push(check);
    }
}

fn check_at(tokens: &[Token], at: usize) -> Option<HostCheck> {
    let rest = &tokens[at + 1..];
    match &tokens[at] {
        Token::Word(word) => check_of_word(word, &tokens[..at], rest),
        Token::Text(text) if is_host_path(text) => Some(HostCheck::File(text.clone())),
        _ => None,
    }
}

fn check_of_word(word: &str, before: &[Token], rest: &[Token]) -> Option<HostCheck> {
    match word {
        "geteuid" | "getuid" | "getresuid" | "is_root" => Some(HostCheck::User),
        "effective" | "current" if path_of(before) == Some("Uid") => Some(HostCheck::User),
        "has_cap" | "has_capability" | "capget" => Some(HostCheck::Capability(None)),
        "uname" | "utsname" | "kernel_version" | "kernel_release" | "LinuxVersion" => {
            Some(HostCheck::Kernel(None))
        }
        "KernelVersion" => Some(HostCheck::Kernel(version_in(rest))),
        "which" | "command_exists" | "command_available" if is_call(rest) => {
            Some(HostCheck::Command(first_text(rest)))
        }
        "new" if path_of(before) == Some("Command") => Some(HostCheck::Command(first_text(rest))),
        "var" | "var_os" if path_of(before) == Some("env") => {
            Some(HostCheck::Variable(first_text(rest)))
        }
        "option_env" => Some(HostCheck::Variable(first_text(rest))),
        "is_x86_feature_detected" => first_text(rest).map(HostCheck::CpuFeature),
        "available_parallelism" | "num_cpus" => Some(HostCheck::CpuCount),
        "EPERM" | "EACCES" | "ENOSYS" | "ENOTSUP" | "EOPNOTSUPP" | "ENODEV" | "EAFNOSUPPORT"
        | "EPROTONOSUPPORT" | "PermissionDenied" | "Unsupported" => Some(HostCheck::ErrorCode),
        _ if word.starts_with("CAP_") => Some(HostCheck::Capability(Some(word.to_owned()))),
        _ if asks_for_root(word) && is_call(rest) => Some(HostCheck::User),
        "is_ci" | "is_wsl" | "getgroups" => Some(HostCheck::ByName),
        _ if asks_for_a_lack(word) => Some(HostCheck::ByName),
        _ => None,
    }
}

/// Returns whether a name such as `running_as_root` asks for the user.
fn asks_for_root(word: &str) -> bool {
    const ASKING: [&str; 8] = [
        "am", "as", "has", "is", "need", "needs", "require", "requires",
    ];
    let mut parts = word.split('_');
    let is_root = word
        .split('_')
        .any(|part| part == "root" || part == "privileged");
    is_root && parts.any(|part| ASKING.contains(&part))
}

/// Returns whether a name such as `is_locale_available` asks for something that a host can lack.
fn asks_for_a_lack(word: &str) -> bool {
    const PARTS: [&str; 8] = [
        "available",
        "installed",
        "selinux",
        "skip",
        "skipping",
        "supported",
        "supports",
        "unsupported",
    ];
    word.split('_').any(|part| PARTS.contains(&part))
}

/// Returns the last part of the path before a name: `a::b` of `a::b::name`.
fn path_of(before: &[Token]) -> Option<&str> {
    match before {
        [.., Token::Word(word), Token::Sign(':'), Token::Sign(':')] => Some(word),
        _ => None,
    }
}

pub(super) fn is_call(rest: &[Token]) -> bool {
    matches!(
        rest,
        [Token::Sign('('), ..] | [Token::Sign('!'), Token::Sign('('), ..]
    )
}

/// Returns the text that is the first argument.
fn first_text(rest: &[Token]) -> Option<String> {
    let arguments = rest
        .iter()
        .skip_while(|token| !matches!(token, Token::Sign('(')));
    match arguments
        .take(3)
        .find(|token| matches!(token, Token::Text(_)))?
    {
        Token::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the version of `KernelVersion::new(5, 10, 0)`.
fn version_in(rest: &[Token]) -> Option<String> {
    let mut numbers = rest.iter().take(12).filter_map(|token| match token {
        Token::Number(number) if number.bytes().all(|digit| digit.is_ascii_digit()) => Some(number),
        _ => None,
    });
    let (major, minor) = (numbers.next()?, numbers.next()?);
    match numbers.next() {
        Some(patch) if patch != "0" => Some(format!("{major}.{minor}.{patch}")),
        _ => Some(format!("{major}.{minor}")),
    }
}

fn is_host_path(text: &str) -> bool {
    const ROOTS: [&str; 6] = [
        "/dev/",
        "/sys/",
        "/proc/",
        "/boot/",
        "/lib/modules",
        "/etc/",
    ];
    ROOTS.iter().any(|root| text.starts_with(root)) && !text.contains(char::is_whitespace)
}

//! Whether this process is in a container, and in which kind.

use super::Answer;
use super::system::{System, text, why};

/// The marks of container managers: files, and the manager of each.
const MARKS: [(&str, &str); 4] = [
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
    ("/run/host/container-manager", "container-manager"),
    ("/run/systemd/container", "container"),
];
const PID_NAMESPACE: &str = "/proc/self/ns/pid";
/// The initial PID namespace, in every kernel since 3.8.
const INITIAL: &str = "pid:[4026531836]";

/// Checks the kernel's name, then the marks of container managers, then whether the PID namespace is the
/// initial one.
pub(super) fn answer(system: &dyn System) -> Answer {
    if let Ok(uname) = system.uname() {
        let release = uname.release.to_lowercase();
        if release.contains("gvisor") {
            return Answer::is("gvisor", "uname");
        }
        if release.contains("microsoft") || release.ends_with("wsl2") {
            return Answer::is("wsl", "uname");
        }
    }
    for (path, kind) in MARKS {
        if let Ok(true) = system.exists(path) {
            // systemd writes the kind into the file.
            let stated = text(system, path)
                .ok()
                .filter(|_| kind.starts_with("container"));
            let stated = stated
                .as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty());
            return Answer::is(stated.unwrap_or(kind), path);
        }
    }
    if let (Ok(true), Ok(false)) = (system.exists("/proc/vz"), system.exists("/proc/bc")) {
        return Answer::is("openvz", "/proc/vz");
    }
    match system.link(PID_NAMESPACE) {
        Ok(link) if link == INITIAL => Answer::absent(
            "no marker of a container manager",
            "/.dockerenv and other markers",
        ),
        Ok(link) => Answer::is(
            format!("{link} is not the initial PID namespace"),
            PID_NAMESPACE,
        ),
        Err(error) => {
            let text = format!(
                "no marker of a container manager, and {PID_NAMESPACE}: {}",
                why(&error)
            );
            Answer::unknown(text, PID_NAMESPACE)
        }
    }
}

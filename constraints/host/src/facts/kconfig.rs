//! The kernel's configuration, from the first file that exists.

use std::sync::Arc;

use super::Answer;
use super::system::{Config, Loaded, System, text, why};

/// Returns the value of a symbol. One that the file does not contain is not set.
pub(super) fn answer(symbol: &str, system: &dyn System) -> Answer {
    let config = match system.kconfig(&|| load(system)) {
        Ok(config) => config,
        Err(problem) => return Answer::unknown(problem, "the kernel's configuration"),
    };
    let value = config.text.lines().find_map(|line| {
        let rest = line.strip_prefix(symbol)?;
        rest.strip_prefix('=')
    });
    Answer::is(value.unwrap_or("n").trim(), config.source.clone())
}

fn load(system: &dyn System) -> Loaded {
    let release = match system.uname() {
        Ok(uname) => uname.release,
        Err(error) => return Err(format!("uname: {}", why(&error))),
    };
    let places = [
        system.env("KCONFIG_PATH").unwrap_or_default(),
        "/proc/config.gz".to_owned(),
        format!("/lib/modules/{release}/build/.config"),
        format!("/lib/modules/{release}/config"),
        format!("/boot/config-{release}"),
        format!("/lib/kernel/config-{release}"),
    ];
    let (mut missing, mut problems) = (Vec::new(), Vec::new());
    for place in places.into_iter().filter(|place| !place.is_empty()) {
        match system.exists(&place) {
            Ok(false) => missing.push(place),
            Ok(true) => match read(system, &place) {
                Ok(text) if text.lines().any(|line| line.starts_with("CONFIG_")) => {
                    return Ok(Arc::new(Config {
                        text,
                        source: place,
                    }));
                }
                Ok(_) => problems.push(format!("{place} has no CONFIG_ lines")),
                Err(problem) => problems.push(format!("{place}: {problem}")),
            },
            Err(error) => problems.push(format!("{place}: lookup failed: {}", why(&error))),
        }
    }
    if !missing.is_empty() {
        problems.push(format!("not found: {}", missing.join(", ")));
    }
    Err(problems.join("; "))
}

fn read(system: &dyn System, place: &str) -> Result<String, String> {
    if !place.ends_with(".gz") {
        return text(system, place).map_err(|unknown| unknown.finding.parts().1.to_owned());
    }
    match system.gunzip(place) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(problem) => Err(format!("compressed: {problem}")),
    }
}

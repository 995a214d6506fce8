//! What a runner tells a test binary of places: the name of the one that it has put it in, how much
//! slower than the runner's own that is, and which tests it has meant for others.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::names::Names;

/// The place's name, which stands in every record. Unset: `here`.
pub const PLACE: &str = "KATA_TEST_PLACE";
/// By how much time limits are longer in this place, from 1.
pub(crate) const TIME_SCALE: &str = "KATA_TEST_TIME_SCALE";

/// A file with the tests that this binary is to leave to other places.
pub const LEAVE: &str = "KATA_TEST_LEAVE";

/// A file that holds the folder and the variables of this process, from a runner that could hand
/// down neither: the folder, and behind it a NUL and `NAME=value` for each variable.
pub const ENVIRONMENT: &str = "KATA_TEST_ENVIRONMENT";

/// The place that nobody has to name.
pub const HERE: &str = "here";

/// The name of the place that this process is in.
pub(crate) fn name() -> String {
    let named = env::var(PLACE).ok().filter(|name| !name.is_empty());
    named.unwrap_or_else(|| HERE.to_owned())
}

/// Says whether a runner has put this process into another place. If a test turns out to be unmet
/// there, that runner has others to try.
pub(crate) fn is_elsewhere() -> bool {
    name() != HERE
}

/// Starts this program anew with what that file holds, if there is one: what reads variables before
/// `main`, such as the loader, is then told them too.
pub(crate) fn take_environment() -> Result<(), String> {
    let Some(path) = env::var_os(ENVIRONMENT).filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let failed = |error| {
        let path = path.to_string_lossy();
        format!("cannot take {ENVIRONMENT} from {path}: {error}")
    };
    let text = fs::read(&path).map_err(failed)?;
    let mut parts = text.split(|&byte| byte == 0).map(OsStr::from_bytes);
    let folder = parts.next().unwrap_or_default();
    let mut arguments = env::args_os();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(arguments.next().unwrap_or_default())
        .args(arguments)
        .current_dir(folder)
        .env_remove(ENVIRONMENT);
    for variable in parts {
        let bytes = variable.as_bytes();
        // A name is never empty, but it can begin with `=`.
        if let Some(end) = bytes.iter().skip(1).position(|&byte| byte == b'=') {
            let (name, value) = bytes.split_at(end + 1);
            // Taking it once more would go on for ever.
            if name != ENVIRONMENT.as_bytes() {
                command.env(OsStr::from_bytes(name), OsStr::from_bytes(&value[1..]));
            }
        }
    }
    Err(failed(command.exec()))
}

/// The place that a test of a binary is left to, if a runner says so.
pub(crate) fn left_to(binary: &str, test: &str) -> Option<&'static str> {
    // The lines of that file: binary, test and place.
    static LEFT: OnceLock<Names<'static>> = OnceLock::new();
    let left = LEFT.get_or_init(|| {
        let path = env::var_os(LEAVE).filter(|path| !path.is_empty());
        // Without the list the tests run here too, and show what they lack.
        let text = path.and_then(|path| fs::read_to_string(path).ok());
        let mut lines = Names::new();
        for line in text.unwrap_or_default().leak().lines() {
            lines.insert(line);
        }
        lines
    });
    if left.all().is_empty() {
        return None;
    }
    let start = format!("{binary}\t{test}\t");
    left.from(&start).first()?.strip_prefix(&*start)
}

/// A time limit as long as it is to be in this place.
pub(crate) fn scaled(limit: Duration) -> Duration {
    let scale = env::var(TIME_SCALE).ok();
    let scale = scale.and_then(|text| text.parse().ok());
    stretch(limit, scale.unwrap_or(1.0))
}

/// A limit never gets shorter, and what is out of any bounds is the longest there is.
fn stretch(limit: Duration, scale: f64) -> Duration {
    let seconds = limit.as_secs_f64() * scale.max(1.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    //! Scope: arithmetic. That limits are stretched is tested with the sample binaries.

    use super::*;

    #[test]
    fn a_limit_is_never_shortened() {
        let second = Duration::from_secs(1);
        assert_eq!(stretch(second, 7.5), Duration::from_millis(7500));
        for scale in [0.1, -3.0, f64::NAN] {
            assert_eq!(stretch(second, scale), second, "{scale}");
        }
        assert_eq!(stretch(second, f64::INFINITY), Duration::MAX);
    }
}

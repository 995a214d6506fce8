//! The variables that a runner sets for places: the place of this process, its factor for time limits, and
//! the tests that run in other places.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::names::Names;

/// The name of the place, for the records; `here` if unset.
pub const PLACE: &str = "KATA_TEST_PLACE";
/// The factor by which time limits are longer in this place, at least 1.
pub(crate) const TIME_SCALE: &str = "KATA_TEST_TIME_SCALE";

/// A file with the tests that run in other places: binary, test and place, separated by tabs.
pub const EXCLUDE_FILE: &str = "KATA_TEST_EXCLUDE_FILE";

/// A file with the folder and the variables of this process, from a runner that could pass down
/// neither: the folder, then a NUL and `NAME=value` for each variable.
pub const ENVIRONMENT: &str = "KATA_TEST_ENVIRONMENT";

/// The test that a runner started a process of libtest for. Its record is printed to standard error: not
/// every place has a folder that the runner reads.
pub const ONLY_TEST: &str = "KATA_TEST_ONLY_TEST";
/// The beginning of a line with such a record.
pub const PRINTED: &str = "kata-test-record: ";

/// The place that the runner itself runs in.
pub const HERE: &str = "here";

/// The place that this process runs in.
pub(crate) fn place() -> String {
    let named = env::var(PLACE).ok().filter(|name| !name.is_empty());
    named.unwrap_or_else(|| HERE.to_owned())
}

/// The test that a runner started this process of libtest for.
pub(crate) fn only_test() -> Option<String> {
    env::var(ONLY_TEST).ok().filter(|name| !name.is_empty())
}

/// Whether the record of a test is printed for a runner. A test may start processes that inherit its
/// variables, and have other tests.
pub(crate) fn prints_record_of(test: &str) -> bool {
    only_test().is_some_and(|only| only == test)
}

/// Whether a runner started this process in another place. If a test is unmet there, the runner has
/// others to try.
pub(crate) fn is_elsewhere() -> bool {
    place() != HERE
}

/// Starts this program again with the contents of that file, if there is one: the loader reads
/// variables too, before `main`.
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
            // Otherwise this program would start itself forever.
            if name != ENVIRONMENT.as_bytes() {
                command.env(OsStr::from_bytes(name), OsStr::from_bytes(&value[1..]));
            }
        }
    }
    Err(failed(command.exec()))
}

/// The other place that runs a test of a binary, if the runner has excluded it here.
pub(crate) fn other_place(binary: &str, test: &str) -> Option<&'static str> {
    // The lines of that file: binary, test and place.
    static EXCLUDED: OnceLock<Names<'static>> = OnceLock::new();
    let excluded = EXCLUDED.get_or_init(|| {
        let path = env::var_os(EXCLUDE_FILE).filter(|path| !path.is_empty());
        // Without the file the tests run here too.
        let text = path.and_then(|path| fs::read_to_string(path).ok());
        let mut lines = Names::new();
        for line in text.unwrap_or_default().leak().lines() {
            lines.insert(line);
        }
        lines
    });
    if excluded.all().is_empty() {
        return None;
    }
    let start = format!("{binary}\t{test}\t");
    excluded.from(&start).first()?.strip_prefix(&*start)
}

/// Scales a time limit for this place.
pub(crate) fn scaled(limit: Duration) -> Duration {
    let scale = env::var(TIME_SCALE).ok();
    let scale = scale.and_then(|text| text.parse().ok());
    stretch(limit, scale.unwrap_or(1.0))
}

/// A limit never gets shorter, and saturates.
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

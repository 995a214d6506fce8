//! The apt configuration that separates our apt from the host's.

use std::path::Path;

use super::error::AptError;

/// Options of the host that are cleared: hooks and preferences.
const CLEARED_OPTIONS: [&str; 14] = [
    "APT::Architectures",
    "APT::Default-Release",
    "APT::NeverAutoRemove",
    "APT::Update::Pre-Invoke",
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
    "APT::Update::Post-Invoke-Stats",
    "DPkg::Pre-Invoke",
    "DPkg::Post-Invoke",
    "DPkg::Pre-Install-Pkgs",
    "AptCli::Hooks",
    "Acquire::IndexTargets::deb::DEP-11",
    "Acquire::IndexTargets::deb::CNF",
    "Acquire::IndexTargets::deb::Contents-deb",
];

/// Returns a configuration that apt reads after the host's.
///
/// Proxies, certificates, timeouts and trusted keys of the host stay in effect.
pub(super) fn render(state: &Path, downloads: &Path) -> Result<String, AptError> {
    let state = quotable(state)?;
    let downloads = quotable(downloads)?;
    let mut text: String = CLEARED_OPTIONS
        .map(|name| format!("#clear {name};\n"))
        .concat();
    let ours = [
        ("APT::Architecture", "amd64".to_owned()),
        ("APT::Architectures::", "amd64".to_owned()),
        ("APT::Install-Recommends", "false".to_owned()),
        ("APT::Install-Suggests", "false".to_owned()),
        ("APT::Get::Assume-Yes", "true".to_owned()),
        ("APT::Keep-Downloaded-Packages", "true".to_owned()),
        // As root, apt would drop privileges to a user without access to the cache.
        ("APT::Sandbox::User", "root".to_owned()),
        ("Acquire::ForceHash", "SHA256".to_owned()),
        // Package lists stay compressed, and no index of them is kept.
        ("Acquire::GzipIndexes", "true".to_owned()),
        ("Dir::Cache::pkgcache", String::new()),
        ("Dir::Cache::srcpkgcache", String::new()),
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::Retries", "3".to_owned()),
        ("Dir::State", state.to_owned()),
        ("Dir::State::lists", format!("{state}/lists")),
        ("Dir::State::status", format!("{state}/status")),
        (
            "Dir::State::extended_states",
            format!("{state}/extended_states"),
        ),
        ("Dir::Cache", state.to_owned()),
        ("Dir::Cache::archives", downloads.to_owned()),
        ("Dir::Log", format!("{state}/log")),
        ("Dir::Etc::sourcelist", format!("{state}/archive.sources")),
        ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
        ("Dir::Etc::preferences", "/dev/null".to_owned()),
        ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
    ];
    text.extend(ours.map(|(name, value)| format!("{name} \"{value}\";\n")));
    Ok(text)
}

/// Refuses a path with a quote, which apt cannot escape.
fn quotable(path: &Path) -> Result<&str, AptError> {
    path.to_str()
        .filter(|text| !text.contains(['"', '\n', ';', ':']))
        .ok_or_else(|| AptError::UnquotablePath(path.into()))
}

#[cfg(test)]
mod tests {
    //! **Scope**: the text. `tests` uses a real apt.

    use super::*;

    #[test]
    fn hooks_are_cleared_and_a_quote_is_refused() {
        let text = render(Path::new("/a b"), Path::new("/c")).unwrap();
        assert!(text.contains("#clear APT::Update::Post-Invoke;\n"));
        assert!(text.contains("Dir::State::status \"/a b/status\";\n"));
        let error = render(Path::new("/a\"; x"), Path::new("/c")).unwrap_err();
        assert!(matches!(error, AptError::UnquotablePath { .. }));
    }
}

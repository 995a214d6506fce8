//! Selects sources of the host for a suite.

use super::Source;

/// Returns the entries of a release: its suite, updates and security updates.
///
/// If there are none, as on a derived distribution with other suite names, returns all entries.
pub(in super::super) fn of_release(sources: &[Source], release: &str) -> Vec<Source> {
    let suites = [
        release.to_owned(),
        format!("{release}-updates"),
        format!("{release}-security"),
        format!("{release}/updates"),
    ];
    let own: Vec<_> = sources
        .iter()
        .filter_map(|source| only(source, &suites))
        .collect();
    if own.is_empty() {
        sources.to_vec()
    } else {
        own
    }
}

/// Restricts an entry to the given suites and to `main`, which has all needed packages.
fn only(source: &Source, suites: &[String]) -> Option<Source> {
    let mut cut = source.clone();
    cut.suites.retain(|suite| suites.contains(suite));
    cut.components.retain(|component| component == "main");
    (!cut.suites.is_empty() && !cut.components.is_empty()).then_some(cut)
}

/// Returns the main archive of the release with another suite.
pub(in super::super) fn of_suite(sources: &[Source], release: &str, suite: &str) -> Vec<Source> {
    let own = of_release(sources, release);
    // Vendors also name suites after a release, but only the archive of the distribution also has its
    // updates.
    let suites_at = |uris: &[String]| -> usize {
        own.iter()
            .filter(|other| other.uris == uris)
            .map(|other| other.suites.len())
            .sum()
    };
    let has_release = |source: &&Source| source.suites.iter().any(|name| name == release);
    let named: Vec<_> = own.iter().filter(has_release).collect();
    let candidates = if named.is_empty() {
        own.iter().collect()
    } else {
        named
    };
    // `max_by_key` returns the last of equals, so the order is reversed.
    let base = candidates
        .into_iter()
        .rev()
        .max_by_key(|source| suites_at(&source.uris));
    let base = base.map(|source| Source {
        suites: vec![suite.to_owned()],
        ..source.clone()
    });
    base.into_iter().collect()
}

/// Returns the source of a suite in the archive of the release: that of security updates for the security
/// updates of other releases, which an archive of their own may have.
pub(in super::super) fn of_addition(sources: &[Source], release: &str, suite: &str) -> Vec<Source> {
    const SECURITY: &str = "-security";
    if !suite.ends_with(SECURITY) {
        return of_suite(sources, release, suite);
    }
    let own = [format!("{release}{SECURITY}")];
    let own = sources.iter().filter_map(|source| only(source, &own));
    own.take(1)
        .map(|source| Source {
            suites: vec![suite.to_owned()],
            ..source
        })
        .collect()
}

#[cfg(test)]
mod tests {
    //! **Scope**: made-up sources.

    use super::super::{parse_deb822, parse_one_line};
    use super::*;

    fn shown(sources: &[Source]) -> Vec<String> {
        sources
            .iter()
            .map(|s| {
                format!(
                    "{} {} {}",
                    s.uris.join(" "),
                    s.suites.join(" "),
                    s.components.join(" ")
                )
            })
            .collect()
    }

    const DEBIAN: &str = "deb http://vendor.example bookworm main\n\
        deb http://vendor.example/cloud cloud-sdk-bookworm main\n\
        deb http://pg.example bookworm-pgdg main\n\
        deb http://docker.example bookworm stable\n\
        deb http://a.example/debian bookworm main contrib\n\
        deb http://a.example/debian bookworm-updates main\n\
        deb http://a.example/debian bookworm-backports main\n\
        deb http://a.example/security bookworm-security main non-free\n";

    #[test]
    fn a_release_includes_updates_and_security_updates() {
        let sources = of_release(&parse_one_line(DEBIAN), "bookworm");
        assert_eq!(
            shown(&sources),
            [
                "http://vendor.example bookworm main",
                "http://a.example/debian bookworm main",
                "http://a.example/debian bookworm-updates main",
                "http://a.example/security bookworm-security main",
            ]
        );
    }

    #[test]
    fn another_suite_uses_the_archive_of_the_distribution() {
        let sources = of_suite(&parse_one_line(DEBIAN), "bookworm", "sid");
        assert_eq!(shown(&sources), ["http://a.example/debian sid main"]);
        let text = "Types: deb\nURIs: http://v.example\nSuites: trixie\nComponents: main\n\n\
            Types: deb\nURIs: http://a.example\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: /k\n";
        let sources = of_suite(&parse_deb822(text), "trixie", "sid");
        assert_eq!(shown(&sources), ["http://a.example sid main"]);
        assert_eq!(
            sources[0].options,
            [("signed-by".to_owned(), "/k".to_owned())]
        );
    }

    #[test]
    fn all_sources_of_a_derived_distribution_are_used() {
        let list = parse_one_line(
            "deb http://m.example wilma main upstream\ndeb http://u.example noble main\n",
        );
        assert_eq!(of_release(&list, "other"), list);
        assert_eq!(
            shown(&of_suite(&list, "other", "sid")),
            ["http://m.example sid main upstream"]
        );
        assert!(of_suite(&[], "bookworm", "sid").is_empty());
    }
}

//! Which of the host's archives are asked.

use super::Source;

/// Returns the entries for one release: its own suite, its updates and its security fixes.
///
/// If none is for it, as on a derived distribution with names of its own, all are taken.
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

/// Cuts an entry down to the suites given and to `main`, which everything we need is in.
fn only(source: &Source, suites: &[String]) -> Option<Source> {
    let mut cut = source.clone();
    cut.suites.retain(|suite| suites.contains(suite));
    cut.components.retain(|component| component == "main");
    (!cut.suites.is_empty() && !cut.components.is_empty()).then_some(cut)
}

/// Returns the release's main archive, with another suite of it in place of the release's.
pub(in super::super) fn of_suite(sources: &[Source], release: &str, suite: &str) -> Vec<Source> {
    let own = of_release(sources, release);
    // Vendors also publish suites named after a release, but only the distribution's own archive
    // has its updates beside it.
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
    // The last of equals would win, so they are looked at backwards.
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

#[cfg(test)]
mod tests {
    //! **Scope**: made-up hosts.

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
    fn a_release_is_its_suite_its_updates_and_its_security_fixes() {
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
    fn another_suite_is_looked_for_in_the_distributions_archive() {
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
    fn a_derived_distribution_gives_all_it_has() {
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

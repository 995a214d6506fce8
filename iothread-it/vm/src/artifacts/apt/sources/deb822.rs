//! Parses and writes the deb822 format (`*.sources`).

use std::fmt::Write as _;

use super::{Fields, Source};

/// Parses the enabled entries with binary packages for our architecture.
///
/// Invalid lines are skipped: apt itself warns about them.
pub(in super::super) fn parse(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut paragraph: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(entry(std::mem::take(&mut paragraph)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = paragraph.last_mut() {
                value.push('\n');
                value.push_str(line.trim_end());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            paragraph.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    sources
}

fn entry(paragraph: Vec<(String, String)>) -> Option<Source> {
    let mut fields = Fields::new();
    for (name, value) in paragraph {
        fields.take(&name, &value);
    }
    fields.finish()
}

/// Formats entries.
pub(in super::super) fn render(sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources {
        let mut field = |name: &str, value: &str| {
            // A value of several lines, such as a key, starts on the next line.
            let space = if value.starts_with('\n') { "" } else { " " };
            let _ = writeln!(text, "{name}:{space}{value}");
        };
        field("Types", "deb");
        field("URIs", &source.uris.join(" "));
        field("Suites", &source.suites.join(" "));
        if !source.components.is_empty() {
            field("Components", &source.components.join(" "));
        }
        for (name, value) in &source.options {
            field(name, value);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    //! **Scope**: parsing and formatting. The tests of `apt` use a real apt.

    use proptest::prelude::*;

    use super::*;

    const KEY: &str =
        "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY\n -----END PGP PUBLIC KEY BLOCK-----";

    #[test]
    fn all_fields_of_a_file_are_parsed() {
        let text = format!(
            "# comment\n\nTypes: deb deb-src\n# see: inside\nURIs: http://a.example/x http://b.example/x\n\
             suites: bookworm\n bookworm-updates\nComponents: main contrib\nArchitectures: i386 amd64\n\
             X-Repolib-Name: a\nLanguages: en\nSigned-By:{KEY}\nCheck-Valid-Until: no\n   \n\
             Types: deb\nURIs: http://c.example\nSuites: ./\n"
        );
        let sources = parse(&text);
        assert_eq!(sources.len(), 2);
        assert_eq!(
            sources[0].uris,
            ["http://a.example/x", "http://b.example/x"]
        );
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(sources[0].components, ["main", "contrib"]);
        let options = [("signed-by", KEY), ("check-valid-until", "no")];
        assert_eq!(
            sources[0].options,
            options.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(sources[1].suites, ["./"]);
        assert!(sources[1].components.is_empty());
    }

    /// Found by fuzzing: of two `\r` each rendering and parsing took one away.
    #[test]
    fn space_at_the_end_of_a_line_is_ignored() {
        let text = "Types: deb\nURIs: http://a.example\nSuites: ./\nSigned-By: \t\n a \r\r\n";
        let sources = parse(text);
        assert_eq!(
            sources[0].options,
            [("signed-by".to_owned(), "\n a".to_owned())]
        );
        assert_eq!(parse(&render(&sources)), sources);
    }

    #[test]
    fn disabled_and_foreign_entries_are_skipped() {
        let rest = "URIs: http://a.example\nSuites: bookworm\nComponents: main\n";
        let with = |fields: &str| parse(&format!("{fields}\n{rest}")).len();
        assert_eq!(with("Types: deb"), 1);
        assert_eq!(with("Types: deb\nEnabled: yes"), 1);
        for fields in [
            "Types: deb-src",
            "Types: deb\nEnabled: No",
            "Types: deb\nArchitectures: arm64",
            "# Types: deb",
        ] {
            assert_eq!(with(fields), 0, "{fields}");
        }
        assert!(parse("Types: deb\nURIs: cdrom:[x]/\nSuites: bookworm\n").is_empty());
        assert!(parse("Types: deb\nSuites: bookworm\n").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "((Types|URIs|Suites|Enabled|#|:| |\\n|deb)|\\PC){0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn render_and_parse_round_trip(
            uris in prop::collection::vec("[a-z]{1,4}:/[a-z/]{1,8}", 1..3),
            suites in prop::collection::vec("[a-z]{1,8}(-updates)?", 1..3),
            components in prop::collection::vec("[a-z]{1,8}", 0..3),
            signed in prop::option::of("[a-z/]{1,9}"),
        ) {
            let uris: Vec<_> = uris.into_iter().filter(|uri| !uri.starts_with("cdrom:")).collect();
            prop_assume!(!uris.is_empty());
            let options = signed.into_iter().map(|value| ("signed-by".to_owned(), value)).collect();
            let sources = vec![Source { uris, suites, components, options }];
            prop_assert_eq!(parse(&render(&sources)), sources);
        }
    }
}

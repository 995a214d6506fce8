//! Parses the one-line format (`sources.list`).

use super::{Fields, Source};

/// Parses the entries with binary packages for our architecture.
pub(in super::super) fn parse(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| entry(&words(line)))
        .collect()
}

/// Splits a line at spaces outside brackets, up to a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut in_brackets = false;
    for c in line.chars() {
        match c {
            '#' if !in_brackets => break,
            c if c.is_whitespace() && !in_brackets => words.push(String::new()),
            c => {
                in_brackets = (in_brackets || c == '[') && c != ']';
                words.extend(words.is_empty().then(String::new));
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn entry(words: &[String]) -> Option<Source> {
    let (kind, mut rest) = words.split_first()?;
    let mut fields = Fields::new();
    fields.take("types", kind);
    if let Some((options, after)) = rest.split_first()
        && let Some(options) = options.strip_prefix('[')
    {
        rest = after;
        for option in options.trim_end_matches(']').split_whitespace() {
            let (name, value) = option.split_once('=')?;
            fields.take(long_name(name), value.replace(',', " ").trim());
        }
    }
    let [uri, suite, components @ ..] = rest else {
        return None;
    };
    fields.take("uris", uri);
    fields.take("suites", suite);
    fields.take("components", &components.join(" "));
    fields.finish()
}

/// Returns the deb822 name of an option.
fn long_name(option: &str) -> &str {
    // `arch+=` and `arch-=` change a default that is not used here.
    match option.to_ascii_lowercase().trim_end_matches(['+', '-']) {
        "arch" if option.ends_with(['+', '-']) => "architectures-changed",
        "arch" => "architectures",
        "lang" => "languages",
        "target" => "targets",
        _ => option,
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: parsing.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_with_options_comments_and_tabs_are_parsed() {
        let text = "# a comment\n\
            deb http://a.example/debian bookworm main contrib # why\n\
            \t deb\t[ arch=amd64,arm64 signed-by=/usr/share/k#y.gpg lang=en ]  https://b.example  bookworm-updates  main\n\
            deb [arch=arm64] http://c.example bookworm main\n\
            deb-src http://a.example/debian bookworm main\n\
            #deb http://d.example bookworm main\n\
            deb cdrom:[Debian GNU/Linux 12 _Bookworm_]/ bookworm main\n\
            deb [trusted=yes] copy:/srv/packages ./\n\
            deb [arch-=i386] http://e.example bookworm main\n\
            deb http://nothing-more.example\n";
        let sources = parse(text);
        let uris: Vec<_> = sources
            .iter()
            .flat_map(|source| source.uris.clone())
            .collect();
        assert_eq!(
            uris,
            [
                "http://a.example/debian",
                "https://b.example",
                "copy:/srv/packages",
                "http://e.example"
            ]
        );
        assert_eq!(sources[0].components, ["main", "contrib"]);
        assert_eq!(sources[1].suites, ["bookworm-updates"]);
        assert_eq!(
            sources[1].options,
            [("signed-by".to_owned(), "/usr/share/k#y.gpg".to_owned())]
        );
        assert!(sources[2].components.is_empty());
        assert!(sources[3].options.is_empty());
    }

    /// Found by fuzzing: `trust:ed=yes` became the field `trust` with the value `ed: yes`.
    #[test]
    fn an_option_that_is_no_field_is_ignored() {
        let text = "deb [trust:ed=yes #a=b -c=d trusted=yes] http://a.example bookworm main\n";
        let options = [("trusted".to_owned(), "yes".to_owned())];
        assert_eq!(parse(text)[0].options, options);
    }

    /// Found by fuzzing: the value `yes ` is another after rendering and parsing.
    #[test]
    fn a_comma_at_the_end_of_a_value_is_ignored() {
        let text = "deb [lang=de,en, trusted=,yes,] http://a.example bookworm main\n";
        let options = [("trusted".to_owned(), "yes".to_owned())];
        assert_eq!(parse(text)[0].options, options);
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "((deb|\\[|\\]|#|=|arch|,|\\n| )|\\PC){0,60}") {
            let _ = parse(&text);
        }
    }
}

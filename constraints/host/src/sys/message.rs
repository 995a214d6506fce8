//! Messages between processes: a kind and texts, one message a line.
//!
//! Foreign bytes in the pipe garble one line; the next line is read again.

use crate::reason::{Reason, ReasonKind};

/// A message from one process to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: String,
    pub texts: Vec<String>,
}

impl Message {
    pub fn new(kind: &str, texts: &[&str]) -> Self {
        Self {
            kind: kind.to_owned(),
            texts: texts.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    /// Returns a message about a reason.
    pub fn with_reason(kind: &str, reason: &Reason) -> Self {
        let mut message = Self::new(
            kind,
            &[
                reason.kind.word(),
                &reason.constraint,
                &reason.observed,
                &reason.source,
            ],
        );
        message.texts.extend_from_slice(reason.alternatives());
        message
    }

    /// Returns the reason, if the message is about one.
    pub fn reason(&self) -> Option<Reason> {
        let [kind, constraint, observed, source, alternatives @ ..] = &self.texts[..] else {
            return None;
        };
        let (observed, source) = (observed.as_str(), source.as_str());
        let reason = match ReasonKind::from_word(kind)? {
            ReasonKind::Constraint => Reason::constraint(constraint.as_str(), observed, source),
            ReasonKind::RuntimeSkip => Reason::runtime_skip(observed, source),
            ReasonKind::Leak => Reason::leak(observed, source),
            ReasonKind::Infrastructure => Reason::infrastructure(observed, source),
            ReasonKind::Kernel => Reason::kernel(observed),
        };
        Some(reason.with_alternatives(alternatives.to_vec()))
    }

    /// Returns the line, with its line break.
    pub fn encode(&self) -> String {
        let mut line = escape(&self.kind);
        for text in &self.texts {
            line.push('\t');
            line.push_str(&escape(text));
        }
        line.push('\n');
        line
    }

    /// Returns the line, of at most this number of bytes, of which there are hundreds: long texts are
    /// truncated. If that does not suffice, only the first texts are kept. Each truncation is marked by an
    /// ellipsis.
    pub fn encode_within(mut self, most: usize) -> String {
        let mut longest = most;
        loop {
            let line = self.encode();
            if line.len() <= most {
                return line;
            }
            if longest > SHORTEST {
                longest = SHORTEST.max(longest / 2);
                self.texts
                    .iter_mut()
                    .for_each(|text| truncate(text, longest));
            } else if self.texts.len() > 2 {
                self.texts.truncate(self.texts.len() / 2);
                self.texts.push("…".to_owned());
            } else {
                return line;
            }
        }
    }

    /// Parses a line without its line break. Any text is a message, if only of an unknown kind.
    pub fn decode(line: &str) -> Self {
        let mut parts = line.split('\t').map(unescape);
        Self {
            kind: parts.next().unwrap_or_default(),
            texts: parts.collect(),
        }
    }

    /// Parses messages, one a line; `None` if the last one is truncated.
    pub fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let text = std::str::from_utf8(bytes).ok()?;
        if !(text.is_empty() || text.ends_with('\n')) {
            return None;
        }
        Some(text.lines().map(Self::decode).collect())
    }
}

/// Texts of this number of bytes are not truncated further. The names of kinds are shorter.
const SHORTEST: usize = 32;

fn truncate(text: &mut String, longest: usize) {
    if text.len() <= longest {
        return;
    }
    let mut end = longest;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push('…');
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                other => other.unwrap_or('\\'),
            },
            c => c,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_read_back(
            messages in prop::collection::vec((any::<String>(), prop::collection::vec(any::<String>(), 0..4)), 0..4),
        ) {
            let messages: Vec<Message> = messages
                .into_iter()
                .map(|(kind, texts)| Message { kind, texts })
                .collect();
            let lines: String = messages.iter().map(Message::encode).collect();
            prop_assert_eq!(lines.matches('\n').count(), messages.len());
            prop_assert_eq!(Message::decode_all(lines.as_bytes()), Some(messages));
        }

        #[test]
        fn reasons_are_read_back(texts in any::<[String; 3]>(), alternatives in prop::collection::vec(any::<String>(), 0..4)) {
            let [constraint, observed, source] = texts.each_ref().map(String::as_str);
            for reason in [
                Reason::constraint(constraint, observed, source).with_alternatives(alternatives),
                Reason::runtime_skip(observed, source),
                Reason::leak(observed, source),
                Reason::infrastructure(observed, source),
            ] {
                let line = Message::with_reason("unmet", &reason).encode();
                let read = Message::decode(line.trim_end_matches('\n'));
                prop_assert_eq!((read.kind.as_str(), read.reason()), ("unmet", Some(reason)));
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in any::<Vec<u8>>(), line in any::<String>()) {
            let _ = Message::decode_all(&bytes);
            let _ = Message::decode(&line).reason();
        }

        /// Texts of any length and number, also of characters that are escaped.
        #[test]
        fn a_line_fits_and_its_truncation_is_marked(
            letters in "[a\n\\\\é😀]{0,9}", times in 0..600_usize,
            alternative in "[a-z]{0,40}", count in 0..600_usize,
        ) {
            let reason = Reason::constraint("any(…)", letters.repeat(times), "x")
                .with_alternatives(vec![alternative; count]);
            let whole = Message::with_reason("unmet", &reason);
            let line = whole.clone().encode_within(4096);
            prop_assert!(line.len() <= 4096);
            let read = Message::decode(line.trim_end_matches('\n'));
            prop_assert!(read.reason().is_some());
            let is_marked = |text: &String| text.ends_with('…');
            prop_assert!(read == whole || read.texts.iter().any(is_marked));
        }
    }

    #[test]
    fn a_message_cut_short_is_not_read() {
        let line = Message::new("met", &["1"]).encode();
        assert_eq!(
            Message::decode_all(&line.as_bytes()[..line.len() - 1]),
            None
        );
        assert_eq!(Message::decode_all(b""), Some(Vec::new()));
    }
}

//! What a test prints, within bounds.

/// How much is kept of the beginning, and as much of the end.
const KEPT: usize = 256 << 10;

/// The beginning and the end of what a process prints.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// The bytes between them.
    dropped: usize,
}

impl Transcript {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend_from_slice(rest);
        // Not at each call, so that every byte is moved once only.
        if self.tail.len() > 2 * KEPT {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
        self.dropped += surplus;
    }

    /// Returns the text, with a line in place of what is missing.
    pub(super) fn text(mut self) -> String {
        self.cut();
        let head = String::from_utf8_lossy(&self.head);
        let tail = String::from_utf8_lossy(&self.tail);
        match self.dropped {
            0 => String::from_utf8_lossy(&[self.head, self.tail].concat()).into_owned(),
            dropped => format!("{head}\n[{dropped} bytes of output left out]\n{tail}"),
        }
    }
}

/// Shortens a text for a record.
pub(super) fn shortened(text: &str) -> String {
    const PART: usize = 16 << 10;
    if text.len() <= 2 * PART {
        return text.to_owned();
    }
    let (head, tail) = (text.floor_char_boundary(PART), text.len() - PART);
    let tail = text.ceil_char_boundary(tail);
    let dropped = tail - head;
    format!(
        "{}\n[{dropped} bytes of output left out]\n{}",
        &text[..head],
        &text[tail..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_of_a_gigabyte_are_kept() {
        let mut transcript = Transcript::default();
        transcript.add(b"first\n");
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..1024 {
            transcript.add(&chunk);
            assert!(transcript.head.len() + transcript.tail.len() <= 4 << 20);
        }
        transcript.add(b"\nlast\n");
        let text = transcript.text();
        assert!(text.starts_with("first\n") && text.ends_with("\nlast\n"));
        assert!(text.contains(" bytes of output left out]"));
        let short = shortened(&text);
        assert!(short.len() < 40_000 && short.ends_with("\nlast\n"));
    }

    #[test]
    fn a_short_text_is_kept_whole() {
        let mut transcript = Transcript::default();
        "är".bytes().for_each(|byte| transcript.add(&[byte]));
        assert_eq!(transcript.text(), "är");
    }
}

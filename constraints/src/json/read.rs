//! Reads JSON: texts, lists and objects. The values of numbers, of `true`, `false` and `null` are not
//! kept.

/// How deep values may be nested.
const DEEPEST: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
    /// A number, a truth value, or null.
    Other,
}

impl Json {
    /// Reads values that follow one another, as JSON lines do. The error is the byte at which the
    /// text is no JSON.
    pub(crate) fn read_all(text: &str) -> Result<Vec<Self>, usize> {
        let mut reader = Reader { text, at: 0 };
        let mut values = Vec::new();
        while reader.peek().is_some() {
            values.push(reader.value(0).ok_or(reader.at)?);
        }
        Ok(values)
    }

    /// A text of an object.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(pairs) = self else {
            return None;
        };
        pairs
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// The first character behind white space.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest().trim_start_matches([' ', '\t', '\r', '\n']);
        self.at = self.text.len() - rest.len();
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found.then_some(())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth == DEEPEST {
            return None;
        }
        match self.peek()? {
            '"' => self.string().map(Json::Text),
            '[' => {
                let item = |reader: &mut Self| reader.value(depth + 1);
                self.list('[', ']', item).map(Json::List)
            }
            '{' => {
                let pair = |reader: &mut Self| {
                    reader.peek().filter(|c| *c == '"')?;
                    let key = reader.string()?;
                    reader.take(':')?;
                    Some((key, reader.value(depth + 1)?))
                };
                self.list('{', '}', pair).map(Json::Object)
            }
            _ => self.other(),
        }
    }

    fn list<T>(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.take(open)?;
        let mut list = Vec::new();
        if self.take(close).is_some() {
            return Some(list);
        }
        loop {
            list.push(item(self)?);
            if self.take(close).is_some() {
                return Some(list);
            }
            self.take(',')?;
        }
    }

    fn other(&mut self) -> Option<Json> {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let rest = self.rest();
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let known = matches!(word, "true" | "false" | "null");
        if !known && !is_number(word) {
            return None;
        }
        self.at += end;
        Some(Json::Other)
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut string = String::new();
        loop {
            let c = self.rest().chars().next()?;
            self.at += c.len_utf8();
            match c {
                '"' => return Some(string),
                '\\' => string.push(self.escape()?),
                c if c < ' ' => return None,
                c => string.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.code_point()?,
            _ => return None,
        })
    }

    /// A character, which beyond the first plane is written as two halves.
    fn code_point(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        let rest = self.rest();
        rest.starts_with("\\u").then(|| self.at += 2)?;
        let second = self.hex()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then_some(())?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// Says whether a word is a number as JSON writes it: Rust also reads `+5`, `.5`, `inf` and `nan`.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let whole = digits.find(['.', 'e', 'E']).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(whole);
    let is_whole = whole == "0" || whole.starts_with(|c: char| matches!(c, '1'..='9'));
    let is_point = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    // Of what is left Rust's form is JSON's, but for a point without digits and what is infinite.
    is_whole
        && rest.strip_prefix('.').is_none_or(is_point)
        && word.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    //! Scope: the syntax. The contents are tested with their reader.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn output_of_serde_json_is_read(texts in any::<Vec<(String, String)>>(), number in any::<f64>()) {
            let object: serde_json::Map<_, _> = texts
                .iter()
                .map(|(key, value)| (key.clone(), serde_json::json!([value, number, null, true])))
                .collect();
            for text in [
                serde_json::to_string(&object).expect("JSON"),
                serde_json::to_string_pretty(&object).expect("JSON"),
            ] {
                let read = Json::read_all(&text).expect("JSON");
                prop_assert_eq!(read.len(), 1);
                for (key, value) in &object {
                    let expected = Json::Text(value[0].as_str().expect("a text").to_owned());
                    let Some(Json::List(list)) = read[0].get(key) else { panic!("{key}") };
                    prop_assert_eq!(&list[..], &[expected, Json::Other, Json::Other, Json::Other]);
                }
            }
        }

        /// What is one value for us is one for serde_json, and the other way round.
        #[test]
        fn serde_json_accepts_the_same_texts(
            text in any::<String>(),
            like in r#"[\[\]{}",:\\u0-9a-fé ]{0,40}"#,
            number in r"[+-]{0,2}[0-9]{0,2}\.?[0-9]{0,2}([eE][+-]{0,2}[0-9]{0,3})?",
            word in "[+-]?(inf|nan|NaN|infinity|true|false|null|True|nul)",
        ) {
            let number_in_list = format!("[{number}]");
            for text in [text, like, number, number_in_list, word] {
                let ours = Json::read_all(&text).is_ok_and(|values| values.len() == 1);
                let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
                prop_assert_eq!(ours, theirs, "{}", text);
            }
        }
    }

    #[test]
    fn lines_and_escapes() {
        let read = Json::read_all("{\"a\":\"\\u00e9\\ud83d\\ude00\\/\"}\n{}\n").expect("JSON");
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].text("a"), Some("é😀/"));
        for (text, at) in [
            ("{\"a\":}", 5),
            ("[1,]", 3),
            ("\"\\ud83d\"", 7),
            ("{} x", 3),
        ] {
            assert_eq!(Json::read_all(text), Err(at), "{text}");
        }
        assert!(Json::read_all(&"[".repeat(100_000)).is_err());
    }
}

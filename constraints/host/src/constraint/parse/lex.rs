//! The tokens of the grammar.

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    Text(&'a str),
    Number(u32),
    Equals,
    Comma,
    Open,
    Close,
    End,
}

/// Splits a text into tokens.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and its offset.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), (String, usize)> {
        let rest = self.text[self.at..].trim_start();
        let at = self.text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            self.at = at;
            return Ok((Token::End, at));
        };
        let run = |same: fn(char) -> bool| rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (token, length) = match first {
            '=' => (Token::Equals, 1),
            ',' => (Token::Comma, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '"' => {
                let Some(length) = rest[1..].find('"') else {
                    return Err(("unterminated string".into(), at));
                };
                if rest[1..=length].contains('\\') {
                    return Err(("escapes are not supported in strings".into(), at));
                }
                (Token::Text(&rest[1..=length]), length + 2)
            }
            '0'..='9' => {
                let length = run(|c| c.is_ascii_digit() || c == '_');
                let digits = rest[..length].replace('_', "");
                match digits.parse() {
                    Ok(number) => (Token::Number(number), length),
                    Err(_) => return Err(("number too large".into(), at)),
                }
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = run(|c| c.is_ascii_alphanumeric() || c == '_');
                (Token::Name(&rest[..length]), length)
            }
            other => return Err((format!("unexpected character {other:?}"), at)),
        };
        self.at = at + length;
        Ok((token, at))
    }

    /// The next token, without consuming it.
    pub(super) fn peek(&self) -> Result<Token<'a>, (String, usize)> {
        self.clone().next().map(|(token, _)| token)
    }
}

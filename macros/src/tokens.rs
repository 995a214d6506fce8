//! Reads tokens without a parser of Rust, which would be most of what a user of kata-test compiles.
//! The attribute needs only the signature of a function, names, literals and paths.

use proc_macro2::{Delimiter, Group, Ident, Punct, TokenStream, TokenTree};

/// The trees of a stream, with the contents of the invisible groups of `macro_rules!`.
pub(crate) fn trees(stream: TokenStream) -> Vec<TokenTree> {
    let mut trees = Vec::new();
    collect(stream, &mut trees);
    trees
}

fn collect(stream: TokenStream, trees: &mut Vec<TokenTree>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                collect(group.stream(), trees);
            }
            other => trees.push(other),
        }
    }
}

/// Trees that are read from the front.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [TokenTree]);

impl<'a> Reader<'a> {
    /// Takes the next tree if it matches.
    fn take<T>(&mut self, look: impl FnOnce(&'a TokenTree) -> Option<T>) -> Option<T> {
        let (first, rest) = self.0.split_first()?;
        let found = look(first)?;
        self.0 = rest;
        Some(found)
    }

    pub(crate) fn ident(&mut self) -> Option<&'a Ident> {
        self.take(|tree| match tree {
            TokenTree::Ident(ident) => Some(ident),
            _ => None,
        })
    }

    pub(crate) fn keyword(&mut self, keyword: &str) -> Option<&'a Ident> {
        self.take(|tree| match tree {
            TokenTree::Ident(ident) if ident == keyword => Some(ident),
            _ => None,
        })
    }

    pub(crate) fn punct(&mut self, char: char) -> Option<&'a Punct> {
        self.take(|tree| match tree {
            TokenTree::Punct(punct) if punct.as_char() == char => Some(punct),
            _ => None,
        })
    }

    pub(crate) fn group(&mut self, delimiter: Delimiter) -> Option<&'a Group> {
        self.take(|tree| match tree {
            TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
            _ => None,
        })
    }

    pub(crate) fn literal(&mut self) -> Option<&'a TokenTree> {
        self.take(|tree| matches!(tree, TokenTree::Literal(_)).then_some(tree))
    }

    /// Takes `<…>`, in which `->` closes nothing.
    pub(crate) fn angles(&mut self) -> Option<&'a [TokenTree]> {
        let all = self.0;
        self.punct('<')?;
        let mut depth = 1;
        let mut arrow = false;
        while depth > 0 {
            let (tree, rest) = self.0.split_first()?;
            self.0 = rest;
            let punct = match tree {
                TokenTree::Punct(punct) => punct.as_char(),
                _ => ' ',
            };
            match punct {
                '<' => depth += 1,
                '>' if !arrow => depth -= 1,
                _ => {}
            }
            arrow = punct == '-';
        }
        Some(&all[..all.len() - self.0.len()])
    }

    fn separator(&mut self) -> Option<()> {
        let before = *self;
        if self.punct(':').is_some() && self.punct(':').is_some() {
            return Some(());
        }
        *self = before;
        None
    }

    /// Takes a path: names with `::` between them, and before them, and `::<…>` behind one.
    pub(crate) fn path(&mut self) -> Option<&'a [TokenTree]> {
        let all = self.0;
        let before = *self;
        let _ = self.separator();
        if self.ident().is_none() {
            *self = before;
            return None;
        }
        loop {
            let end = *self;
            if self.separator().is_none() {
                break;
            }
            if self.ident().is_none() && self.angles().is_none() {
                *self = end;
                break;
            }
        }
        Some(&all[..all.len() - self.0.len()])
    }
}

/// A stream of these trees.
pub(crate) fn stream(trees: &[TokenTree]) -> TokenStream {
    trees.iter().cloned().collect()
}

/// A path as it is written, without space.
pub(crate) fn path_text(path: &[TokenTree]) -> String {
    path.iter().map(TokenTree::to_string).collect()
}

#[cfg(test)]
mod tests {
    //! Scope: where paths and generics end. What is made of them is tested with their readers.

    use super::*;

    fn read(text: &str, read: impl FnOnce(&mut Reader<'_>) -> bool) -> Option<String> {
        let trees = trees(text.parse().expect("tokens"));
        let mut reader = Reader(&trees);
        read(&mut reader).then(|| path_text(reader.0))
    }

    #[test]
    fn a_path_ends_at_the_first_other_token() {
        let rest = |text| read(text, |reader| reader.path().is_some());
        assert_eq!(rest("a"), Some(String::new()));
        assert_eq!(rest("::a::b::<u8, Vec<u8>>::c + 1"), Some("+1".to_owned()));
        assert_eq!(rest("a::b(c)"), Some("(c)".to_owned()));
        assert_eq!(rest("a::"), Some("::".to_owned()));
        assert_eq!(rest("1 + a"), None);
        assert_eq!(rest("::"), None);
    }

    #[test]
    fn generics_end_at_their_own_bracket() {
        let rest = |text| read(text, |reader| reader.angles().is_some());
        assert_eq!(
            rest("<F: Fn() -> Vec<u8>, const N: usize>()"),
            Some("()".to_owned())
        );
        assert_eq!(rest("<'a"), None);
        assert_eq!(rest("()"), None);
    }
}

//! Arguments of the running kernel.

use crate::constraint::atom::Kind;

pub(crate) const fn argument(text: &'static str) -> Result<Kind, &'static str> {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if !bytes[index].is_ascii_graphic() || bytes[index] == b'"' {
            return Err("a kernel argument is one word, without quotes, such as \"nosmt\"");
        }
        index += 1;
    }
    if bytes.is_empty() {
        return Err("expected an argument of the kernel, such as \"nosmt\" or \"isolcpus=1\"");
    }
    Ok(Kind::KernelArg(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_one_word() {
        for text in ["nosmt", "isolcpus=1,2", "dyndbg"] {
            assert!(argument(text).is_ok(), "{text}");
        }
        for text in ["", " ", "a b", "a\n", "dyndbg=\"file x\"", "ü"] {
            assert!(argument(text).is_err(), "{text}");
        }
    }
}

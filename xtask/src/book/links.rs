//! Links and headings of Markdown.

use anyhow::Result;

/// The parts of a text that are prose, and those that are code: fenced blocks, and spans within a line.
fn parts(text: &str) -> Vec<(bool, &str)> {
    let mut parts = Vec::new();
    let mut is_block = false;
    for line in text.split_inclusive('\n') {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence || is_block {
            is_block ^= is_fence;
            parts.push((false, line));
            continue;
        }
        let spans = line.split_inclusive('`').enumerate();
        parts.extend(spans.map(|(at, span)| (at % 2 == 0, span)));
    }
    parts
}

/// The targets of links such as `[text](target)`.
pub(super) fn targets(text: &str) -> impl Iterator<Item = &str> {
    let prose = parts(text).into_iter().filter(|(is_prose, _)| *is_prose);
    prose.flat_map(|(_, part)| {
        let ends = part.split("](").skip(1);
        ends.filter_map(|end| Some(end.split_once(')')?.0))
    })
}

/// Replaces the target of each link; a link without one becomes its text.
pub(super) fn replace(
    text: &str,
    mut with: impl FnMut(&str) -> Result<Option<String>>,
) -> Result<String> {
    let mut replaced = String::new();
    for (is_prose, part) in parts(text) {
        let mut rest = part;
        while let Some((before, after)) = rest.split_once("](").filter(|_| is_prose) {
            let Some((target, after)) = after.split_once(')') else {
                break;
            };
            replaced.push_str(before);
            match with(target)? {
                Some(target) => replaced.extend(["](", &target, ")"]),
                None => {
                    let start = replaced.rfind('[');
                    start.map(|at| replaced.remove(at));
                }
            }
            rest = after;
        }
        replaced.push_str(rest);
    }
    Ok(replaced)
}

/// The anchors of the headings of a page.
#[cfg(test)]
pub(super) fn anchors(text: &str) -> impl Iterator<Item = String> {
    let mut is_block = false;
    let lines = text.lines().filter(move |line| {
        is_block ^= line.starts_with("```");
        !is_block
    });
    lines.filter_map(|line| {
        let heading = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = heading.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        });
        Some(kept.collect::<String>().to_lowercase())
    })
}

/// The words of a command, as a shell splits them by spaces and quotes.
#[cfg(test)]
pub(super) fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.trim().chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code_and_replaced() {
        let text = "[a](b.md), `[no](c)` and [d `e`](f.md#g).\n```\n[no](h)\n```\n[i](j)\n";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["b.md", "f.md#g", "j"]);
        let replaced = replace(text, |target| {
            Ok((target != "j").then(|| format!("x/{target}")))
        });
        let expected = "[a](x/b.md), `[no](c)` and [d `e`](x/f.md#g).\n```\n[no](h)\n```\ni\n";
        assert_eq!(replaced.unwrap(), expected);
    }

    #[test]
    fn anchors_are_those_of_headings() {
        let text = "# A `b`: C, d\n```\n# not\n```\n## Two words\n";
        assert_eq!(anchors(text).collect::<Vec<_>>(), ["a-b-c-d", "two-words"]);
    }

    #[test]
    fn words_are_split_as_by_a_shell() {
        assert_eq!(words("a 'b c'  --d=\"e f\""), ["a", "b c", "--d=e f"]);
    }
}
